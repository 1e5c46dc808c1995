"""The part that takes each layer and expert off: does it earn its place?

Above, layers are put on one after the other; the last line is what is served. Below, from
what is served one thing at a time is taken off, and the table shows by how many points the
error grows: what never makes it grow is not needed. Experts are taken off exactly, by
:mod:`replay <benchmarks.prediction.replay>`; the physics' forgetting by running the physics
alone, online, both ways.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Final

import numpy as np
from rich.console import Console

from benchmarks.prediction.ablation_tables import (
    Found,
    forgetting_table,
    point_tables,
    quantile_table,
)
from benchmarks.prediction.pages import Pages
from benchmarks.prediction.play import Played, Said, play
from benchmarks.prediction.plays import DRIFT, OURS, Kept, Plays, own_way
from benchmarks.prediction.replay import calibrate, mix
from benchmarks.prediction.rowset import Label, Request, RowSet, Target
from benchmarks.prediction.scores import Figures, error_after, figures
from predictor import EXPERTS
from predictor.labels import label_weight, usable_labels
from predictor.physics import TPOT, TTFT, PhysicsPrior
from predictor.settings import CalibrationSettings, MixtureSettings, PhysicsSettings
from predictor.types import FloatArray

SERVED: Final = "all: as served"
_OFF: Final = 1e9  # rows: a half-life that forgets nothing, a regime that never has enough
_TREES: Final = ("ratio", "direct", "ratio_bias", "fleet_bias")  # the last rests on ratio
_BIASES: Final = ("prior_bias", "ratio_bias", "fleet_bias")
LADDER: Final = (
    ("fleet physics", ("smooth",)),
    ("+ each endpoint's", ("prior",)),
    ("+ bias", ("prior_bias",)),
    ("+ river", ("prior_river",)),
    ("+ trees on ratio", ("ratio", "ratio_bias", "fleet_bias")),
    (SERVED, ("direct",)),
)
"""Layers by name, and the experts each adds."""

Variant = Callable[[Kept], dict[Target, FloatArray]]
"""From a play to the means another mixture would have served."""


def _ladder() -> dict[str, Variant]:
    speaking: set[str] = set()
    found: dict[str, Variant] = {}
    for name, experts in LADDER:
        speaking.update(experts)
        found[name] = partial(mix, silent=sorted(set(EXPERTS) - speaking))
    return found


CUMULATIVE: Final[dict[str, Variant]] = _ladder()
LEFT_OUT: Final[dict[str, Variant]] = {
    **{f"without {name}": partial(mix, silent=(name,)) for name in EXPERTS},
    "without any bias": partial(mix, silent=_BIASES),
    "without any trees": partial(mix, silent=_TREES),
    "equal weights": partial(mix, settings=MixtureSettings(sharpness=1e-9)),
    "weights forget nothing": partial(mix, settings=MixtureSettings(half_life_rows=_OFF)),
    "weights for all regimes": partial(mix, settings=MixtureSettings(regime_rows=_OFF)),
    "no doubts while cold": partial(mix, doubts={}),
}
QUANTILES: Final[dict[str, Callable[[Kept], dict[Target, tuple[FloatArray, FloatArray]]]]] = {
    "adaptive: as served": calibrate,
    "static": partial(calibrate, settings=CalibrationSettings(step=0, stated_step=0)),
    "ten times as quick": partial(calibrate, settings=CalibrationSettings(step=0.02)),
    "over the last 150 only": partial(calibrate, settings=CalibrationSettings(window_s=0)),
    "quick over the last 150": partial(
        calibrate, settings=CalibrationSettings(step=0.02, window_s=0)
    ),
    "regimes together": partial(calibrate, by_regime=False),
}

FORGETTING: Final = {
    "forgets: as served": PhysicsSettings(),
    "forgets nothing": PhysicsSettings(half_life_rows=_OFF, window_rows=4096, fleet_rows=20_000),
}


@dataclass(frozen=True, slots=True)
class Ablation:
    """Collect what the tables show, as figures by variant and key.

    Attributes:
        cumulative: With one layer more at a time.
        left_out: With one thing off.
        quantiles: With another calibration.
        forgetting: Of the physics alone, also where the labels change in the middle.
    """

    cumulative: Found
    left_out: Found
    quantiles: Found
    forgetting: Found


def main_part(
    given: argparse.Namespace,  # noqa: ARG001  # all it names is in the plays
    console: Console,
    *,
    plays: Plays,
    pages: Pages,
) -> tuple[dict[str, object], bool]:
    """Replay all variants and print; nothing here is a must."""
    with console.status("ablation"):
        found = ablate(plays)
    pages.show(console, point_tables(found.cumulative, found.left_out, served=SERVED))
    pages.show(console, {"ablation-quantiles": quantile_table(found.quantiles)})
    pages.show(console, {"ablation-forgetting": forgetting_table(found.forgetting)})
    return {name: _document(getattr(found, name)) for name in Ablation.__slots__}, True


def ablate(plays: Plays) -> Ablation:
    """Take everything off in turn, on every set and in both orders."""
    kept = [
        plays.of(rows, OURS) for orders in plays.sets for rows in (orders[0], own_way(orders, OURS))
    ]
    alone = [(orders[0].name, orders[0]) for orders in plays.sets]
    alone += [(f"{rows.name}, labels x{DRIFT}", rows) for rows in plays.changed]
    return Ablation(
        cumulative=_mixed(CUMULATIVE, kept),
        left_out=_mixed(LEFT_OUT, kept),
        quantiles=_stated(kept),
        forgetting={
            name: {
                (title, rows.order, target): after_middle(rows, seen)
                for title, rows in alone
                for target, seen in play(rows, PhysicsAlone(settings)).items()
            }
            for name, settings in FORGETTING.items()
        },
    )


class PhysicsAlone:
    """Predict by each endpoint's own physics, learned online; the rest of it is off."""

    expert_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: PhysicsSettings) -> None:
        self._physics = PhysicsPrior(settings)

    def predict(self, request: Request, now: float) -> Said:  # noqa: ARG002  # not timed
        """Predict a request that is sent."""
        said = self._physics.predict(request.features[None], [request.endpoint], [request.hardware])
        mean_s = np.exp(said.log_prior[:, 0])
        return Said(mean_s=mean_s, p50_s=mean_s, p90_s=mean_s, experts=np.empty((2, 0)))

    def learn(self, rows: RowSet, label: Label, said: Said) -> None:  # noqa: ARG002  # online
        """Learn a label as serving does."""
        seen = rows.observation(label)
        labels, _ = usable_labels(seen)
        self._physics.learn(
            seen.features,
            seen.endpoint,
            seen.hardware,
            observed_s=seen.observed_s,
            targets_s=labels,
            weights=(label_weight(seen, TTFT), label_weight(seen, TPOT)),
        )

    def train(self, now: float) -> None:
        """There is nothing to train."""


def after_middle(rows: RowSet, seen: Played) -> Figures:
    """Give the figures of a play, and its error where labels change if they do."""
    return figures(seen) | {"mape_after_middle": error_after(seen, len(rows.requests) // 2)}


def _mixed(variants: Mapping[str, Variant], kept: Sequence[Kept]) -> Found:
    return {
        name: {
            (one.rows.name, one.rows.order, target): figures(
                replace(one.played[target], mean_s=mean_s)
            )
            for one in kept
            for target, mean_s in variant(one).items()
        }
        for name, variant in variants.items()
    }


def _stated(kept: Sequence[Kept]) -> Found:
    return {
        name: {
            (one.rows.name, one.rows.order, target): figures(
                replace(one.played[target], p50_s=p50_s, p90_s=p90_s)
            )
            for one in kept
            for target, (p50_s, p90_s) in stating(one).items()
        }
        for name, stating in QUANTILES.items()
    }


def _document(found: Found) -> dict[str, dict[str, Figures]]:
    return {
        name: {"/".join(key): each for key, each in by_key.items()}
        for name, by_key in found.items()
    }
