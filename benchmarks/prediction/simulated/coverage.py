"""Whether nine labels in ten are at or below the stated p90, always and not on average.

Short chats on the mixed fleet, a hundred thousand of them, in windows of 1,000 requests
that follow one another in the order of dispatch and do not overlap. A perfect p90 would
have 97 of 100 such windows within 88 to 92 %. Then drift: one class becomes slower half-way
and later recovers. What the intervals cost in width is compared with the reference on
the recordings of :mod:`~benchmarks.prediction.simulated.accuracy`: its models fitted to
the 90 % quantile, on the same rows and labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.prediction.simulated.cells import Cell, play
from benchmarks.prediction.simulated.player import Asked, replay
from benchmarks.prediction.simulated.recording import Recording
from benchmarks.prediction.simulated.rows import Row
from benchmarks.prediction.simulated.scores import (
    MEAN,
    P50,
    P90,
    TARGETS,
    coverage,
    pinball,
    width,
)
from foretoken.simulation.llmd_models import fit
from foretoken.simulation.llmd_predictor import RETRAIN_S, LlmdPredictor
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor.types import FloatArray, RequestRecord
from scheduler import Dispatch
from simulator.fleets import FleetSpec, SlowDown

PART: Final = "coverage"
LEVEL: Final = 0.9
WORKLOAD: Final = str(Path(__file__).with_name("short-chat.toml"))
FLEET: Final = "mixed-8b"
RATE: Final = 200.0
WINDOW: Final = 1000
SETTLED: Final = 2000
STEADY: Final = (0.88, 0.92)
DRIFTING: Final = (0.85, 0.95)
MOST: Final = 0.95
"""Share of the windows that must be within."""
DRIFT_FACTOR: Final = 1.7
DRIFTS: Final = "a100"
DRIFT_WINDOWS: Final = 10
"""Windows after each change that count as drift."""


class QuantileMeter(Witness):
    """Keep the stated p90 of each dispatch and its labels."""

    def __init__(self) -> None:
        self._stated_s: list[tuple[float, float]] = []
        self._labels_s: list[list[float]] = []
        self._sent: dict[str, tuple[int, float]] = {}
        self.sent_s: list[float] = []

    def dispatched(self, action: Dispatch, now: float) -> None:
        """Keep what was stated."""
        decision = action.decision
        said = decision.predictions
        stated = (np.nan, np.nan)
        if said is not None:
            chosen = decision.chosen
            stated = (float(said.ttft_p90_s[chosen]), float(said.tpot_p90_s[chosen]))
        self._sent[action.request_id] = (len(self._stated_s), now)
        self._stated_s.append(stated)
        self._labels_s.append([np.nan, np.nan])
        self.sent_s.append(now)

    def first_token(self, request_id: str, now: float) -> None:
        """Keep a TTFT."""
        number, sent_s = self._sent[request_id]
        self._labels_s[number][0] = now - sent_s

    def ended(self, record: RequestRecord, now: float) -> None:  # noqa: ARG002  # it says when
        """Keep a TPOT."""
        sent = self._sent.pop(record.request.request_id, None)
        if sent is not None and record.tpot_s is not None:
            self._labels_s[sent[0]][1] = record.tpot_s

    def stated_s(self) -> FloatArray:
        """Give the p90s, ``(n, 2)``."""
        return np.array(self._stated_s)

    def labels_s(self) -> FloatArray:
        """Give the labels, ``(n, 2)``; NaN where there is none."""
        return np.array(self._labels_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Hold stated p90s and labels, ``(n, 2)``, and when each was sent, ``(n,)``."""

    stated_s: FloatArray
    labels_s: FloatArray
    sent_s: FloatArray


def play_chats(requests: int, *, drift_s: tuple[float, float] | None = None) -> Played:
    """Play short chats.

    Args:
        requests: About how many.
        drift_s: When one class becomes slower, and when it has recovered.

    Raises:
        SimulationRefused: They cannot be played.
    """
    meter = QuantileMeter()

    def look(_: World) -> QuantileMeter:
        return meter

    cell = Cell(workload=WORKLOAD, fleet=FLEET, load=1.0, requests=requests)
    change = partial(_drifting, drift_s=drift_s)
    play(cell, Path(), look, rate=RATE, change=change)
    return Played(
        stated_s=meter.stated_s(), labels_s=meter.labels_s(), sent_s=np.array(meter.sent_s)
    )


def steady_rows(played: Played) -> list[Row]:
    """Count the windows within 88 to 92 % once traffic has settled."""
    return [
        _row(
            "short chats, steady",
            name,
            coverage(played.stated_s[SETTLED:, index], played.labels_s[SETTLED:, index], WINDOW),
            STEADY,
        )
        for index, name in enumerate(TARGETS)
    ]


def drift_rows(played: Played, drift_s: tuple[float, float]) -> list[Row]:
    """Count the windows within 85 to 95 % after each change."""
    starts = np.searchsorted(played.sent_s, drift_s)
    found = []
    for index, name in enumerate(TARGETS):
        shares = np.concatenate(
            [
                coverage(
                    played.stated_s[start : start + DRIFT_WINDOWS * WINDOW, index],
                    played.labels_s[start : start + DRIFT_WINDOWS * WINDOW, index],
                    WINDOW,
                )
                for start in starts
            ]
        )
        cell = f"short chats, {DRIFTS} {DRIFT_FACTOR:g} x slower and back"
        found.append(_row(cell, name, shares, DRIFTING))
    return found


def recorded_rows(recording: Recording, *, settled: int = SETTLED) -> list[Row]:
    """Compare loss and width of the p90 with the reference's, from some request on."""
    reference = LlmdPredictor(fit=partial(fit, alpha=LEVEL))
    asked = Asked(predictor=reference, train=reference.train, train_every_s=RETRAIN_S)
    theirs_s, labels_s = replay(recording, asked)[settled:], recording.labels_s()[settled:]
    said_s = recording.said_s[settled:]
    found = []
    for index, name in enumerate(TARGETS):
        label_s, ours_s, other_s = labels_s[:, index], said_s[:, index], theirs_s[:, index, MEAN]
        loss = pinball(ours_s[:, P90], label_s, LEVEL)
        their_loss = pinball(other_s, label_s, LEVEL)
        covered = _covered(ours_s[:, P90], label_s), _covered(other_s, label_s)
        widths = width(ours_s[:, P90], ours_s[:, P50]), width(other_s, ours_s[:, P50])
        found.append(
            Row(
                part=PART,
                cell=recording.name,
                quantity=f"{name} pinball loss of the p90, share of the label",
                ours=loss,
                beside={"reference": their_loss},
                limit="less",
                passes=loss < their_loss,
                note=(
                    f"covers {covered[0]:.1%} beside {covered[1]:.1%}; above our median by "
                    f"{widths[0]:.1%} beside {widths[1]:.1%}"
                ),
            )
        )
    return found


def _covered(quantile_s: FloatArray, label_s: FloatArray) -> float:
    known = np.isfinite(label_s)
    return float((label_s[known] <= quantile_s[known]).mean())


def _row(
    cell: str, name: str, shares: Sequence[float] | FloatArray, within: tuple[float, float]
) -> Row:
    shares = np.asarray(shares)
    low, high = within
    kept = float(((shares >= low) & (shares <= high)).mean())
    return Row(
        part=PART,
        cell=cell,
        quantity=f"{name}: windows whose p90 covers {low:.0%} to {high:.0%}",
        ours=kept,
        limit=f"{MOST:.0%} of {len(shares)}",
        passes=kept >= MOST,
        note=f"from {shares.min():.1%} to {shares.max():.1%}, mean {shares.mean():.1%}",
    )


def _drifting(fleet: FleetSpec, *, drift_s: tuple[float, float] | None) -> FleetSpec:
    if drift_s is None:
        return fleet
    fault = SlowDown(at_s=drift_s[0], factor=DRIFT_FACTOR, until_s=drift_s[1])
    return replace(
        fleet,
        endpoints=tuple(
            replace(one, faults=(fault,)) if one.name.startswith(DRIFTS) else one
            for one in fleet.endpoints
        ),
    )
