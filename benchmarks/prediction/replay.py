"""Play a recording's mixing and calibration again, with parts of them off or changed.

Experts learn from labels alone, never from what the mixture made of them. So what the
predictor would have said without some of them is found exactly, without playing: the
production :class:`Mixture` takes in the same experts in the same order of events, those
that are off silent. :class:`Calibration` likewise stands on the means that were served.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.prediction.plays import Kept
from benchmarks.prediction.rowset import TARGETS, Dispatch, Label, Target
from predictor import EXPERTS
from predictor.boosted import KINDS
from predictor.calibration import Calibration
from predictor.labels import usable_labels
from predictor.latency import DOUBTS
from predictor.mixture import Mixture
from predictor.settings import CalibrationSettings, MixtureSettings
from predictor.terms import regimes
from predictor.types import P50, P90, FloatArray

SEEDED: Final = ("prior", *KINDS)
"""Experts whose errors a trained model brings along."""


def mix(
    kept: Kept,
    *,
    silent: Collection[str] = (),
    settings: MixtureSettings | None = None,
    doubts: Mapping[str, float] = DOUBTS,
) -> dict[Target, FloatArray]:
    """Give the means, ``(n,)`` seconds as in :class:`Played`, of another mixture.

    Args:
        kept: A play of ours.
        silent: Experts that say nothing, at any time.
        settings: Of the mixture.
        doubts: What experts are doubted by before labels.
    """
    said, regime = _experts(kept, silent), _regimes(kept)
    mixture = Mixture(EXPERTS, settings, doubts)
    mixed = np.empty((len(said), len(TARGETS)))
    for asked in _dispatches(kept, mixture, said, regime):
        rows = regime[asked : asked + 1]
        mixed[asked] = mixture.predict(said[asked][:, :, None], rows)[:, 0]
    return {
        name: np.exp(mixed[kept.played[name].request, target])
        for target, name in enumerate(TARGETS)
    }


def weights(kept: Kept) -> dict[Target, FloatArray]:
    """Give what each served prediction was made of: ``(n, n_experts)`` shares."""
    said, regime = _experts(kept, ()), _regimes(kept)
    mixture = Mixture(EXPERTS, None, DOUBTS)
    share = np.empty(said.shape)
    for asked in _dispatches(kept, mixture, said, regime):
        each = np.eye(len(EXPERTS)) + 0.0 * said[asked][:, :, None]  # silent stays NaN
        share[asked] = mixture.predict(each, np.repeat(regime[asked], len(EXPERTS)))
    return {name: share[kept.played[name].request, target] for target, name in enumerate(TARGETS)}


def calibrate(
    kept: Kept, *, settings: CalibrationSettings | None = None, by_regime: bool = True
) -> dict[Target, tuple[FloatArray, FloatArray]]:
    """Give the medians and 90 % quantiles, ``(n,)`` seconds, another calibration states.

    Args:
        kept: A play of ours.
        settings: Of the calibration.
        by_regime: Whether residuals are kept apart by what waits.
    """
    regime = _regimes(kept) if by_regime else np.zeros(len(kept.rows.requests), dtype=np.intp)
    found = {}
    for target, name in enumerate(TARGETS):
        seen = kept.played[name]
        log_mean = dict(zip(seen.request.tolist(), np.log(seen.mean_s).tolist(), strict=True))
        calibration = Calibration(settings)
        stated: dict[int, FloatArray] = {}
        for event in kept.rows.events:
            asked = event.request
            if asked not in log_mean:
                continue
            if isinstance(event, Dispatch):
                offsets = calibration.offsets(regime[asked : asked + 1])[:, 0]
                stated[asked] = log_mean[asked] + offsets
            else:
                for index, log_actual in _usable(kept, event):
                    if index == target:
                        covered = log_actual <= float(stated[asked][P90])
                        residual = log_actual - log_mean[asked]
                        calibration.learn(
                            int(regime[asked]), residual, at_s=event.at_s, covered=covered
                        )
        quantiles = np.exp([stated[asked] for asked in seen.request.tolist()])
        found[name] = (quantiles[:, P50], quantiles[:, P90])
    return found


def _dispatches(
    kept: Kept, mixture: Mixture, said: FloatArray, regime: NDArray[np.intp]
) -> Iterator[int]:
    """Take a mixture through all events; give each request when it is sent."""
    swaps = _at_events(kept)
    for position, event in enumerate(kept.rows.events):
        for errors in swaps.pop(position, ()):
            _seed(mixture, errors, said)
        asked = event.request
        if isinstance(event, Dispatch):
            yield asked
        else:
            for target, log_actual in _usable(kept, event):
                error = np.abs(said[asked, target] - log_actual)
                mixture.learn(target, int(regime[asked]), error)


def _experts(kept: Kept, silent: Collection[str]) -> FloatArray:
    """Give ``(n_requests, 2, n_experts)`` log seconds; 0 where a target has no label."""
    said = np.zeros((len(kept.rows.requests), len(TARGETS), len(EXPERTS)))
    for target, name in enumerate(TARGETS):
        seen = kept.played[name]
        said[seen.request, target] = np.log(seen.experts_s)
    said[:, :, [EXPERTS.index(name) for name in silent]] = np.nan
    return said


def _regimes(kept: Kept) -> NDArray[np.intp]:
    return regimes(np.array([request.features for request in kept.rows.requests]))


def _at_events(kept: Kept) -> dict[int, list[Mapping[str, float]]]:
    """Sort what models brought along by how many events there had been."""
    found: dict[int, list[Mapping[str, float]]] = {}
    for swap in kept.swaps:
        found.setdefault(swap.events, []).append(swap.errors)
    return found


def _seed(mixture: Mixture, errors: Mapping[str, float], said: FloatArray) -> None:
    """Start the experts that ever speak."""
    for target, name in enumerate(TARGETS):
        for expert in SEEDED:
            measured = errors.get(f"{name}_{expert}")
            speaks = np.isfinite(said[:, target, EXPERTS.index(expert)]).any()
            if measured is not None and speaks:
                mixture.seed(target, expert, measured)


def _usable(kept: Kept, label: Label) -> Iterator[tuple[int, float]]:
    labels, _ = usable_labels(kept.rows.observation(label))
    for target, seconds in labels.items():
        yield target, float(np.log(seconds))
