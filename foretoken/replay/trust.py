"""How far a replay may be trusted: what was recorded, beside the same played again.

Decides the verdict. The recorded requests are played twice: each at the endpoint where it
ran (which judges the fitted step times alone) and through the recorded policy (which
judges the router's part too). Only requests after those that were fitted count. Called
by :mod:`foretoken.replay.question`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from foretoken.simulation.figures import Figures, steady_figures
from foretoken.simulation.outcome import Outcome, Run
from predictor.types import FloatArray

Verdict = Literal["good", "fair", "poor"]

GOOD_ERROR: Final = 0.10
FAIR_ERROR: Final = 0.25
"""Most that the judged figures may be off."""
GOOD_RANKS: Final = 0.8
FAIR_RANKS: Final = 0.5
"""Least rank correlation of latencies, request by request, at the recorded endpoints."""

LATENCIES: Final = ("ttft", "tpot", "e2e")
PARTS: Final = ("mean", "p50", "p90", "p99")
JUDGED: Final = ("mean", "p50", "p90")
"""Of each latency; the p99 of a few hundred requests is shown and judged by nobody."""

_SPREAD: Final = 1.5
"""Over the median, where the slowest tenth of the requests begins if ranks mean anything."""

_RANKED: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Hold one figure three times, in seconds or as a share.

    Attributes:
        figure: Its name in ``figures.FIGURES``.
        recorded: As it was.
        placed: Played where it ran.
        policy: Played through the recorded policy, mean over the seeds; ``None`` where
            that cannot be played.
    """

    figure: str
    recorded: float
    placed: float
    policy: float | None

    @property
    def placed_error(self) -> float:
        """Give what the play at the recorded places is off by, relative."""
        return self.placed / self.recorded - 1.0

    @property
    def policy_error(self) -> float | None:
        """Give what the play of the recorded policy is off by, relative."""
        return None if self.policy is None else self.policy / self.recorded - 1.0

    @property
    def error(self) -> float:
        """Give the error that differences between policies are held against."""
        told = self.placed_error if self.policy_error is None else self.policy_error
        return abs(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Hold how far a replay may be trusted.

    Attributes:
        verdict: In a word.
        because: In a sentence: what is farthest off.
        deviations: By figure.
        ranks: Rank correlation by latency, at the recorded endpoints; ``None`` where all
            requests took about as long.
        requests: Recorded requests that were judged.
        told: Share of the answered ones of which each latency was recorded, by latency; one
            that was recorded of none is not judged, and the verdict says nothing of it.
            ``None`` where no answer has it: one token has no gap.
        shares: Hits, sheds and attainment: recorded, and of the recorded policy played again.
    """

    verdict: Verdict
    because: str
    deviations: dict[str, Deviation]
    ranks: dict[str, float | None]
    requests: int
    told: dict[str, float | None]
    shares: dict[str, tuple[float | None, float | None]]

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Name the latencies of which nothing can be said, though answers have them."""
        return tuple(
            name
            for name, told in self.told.items()
            if told is not None and f"{name}_mean_s" not in self.deviations
        )


def judge(
    recorded: Run,
    placed: Run,
    policy: Sequence[Run],
    shares: Mapping[str, tuple[float | None, float | None]],
) -> Trust:
    """Hold plays of the recorded policy against what was recorded.

    Args:
        recorded: What was.
        placed: Played where it ran.
        policy: Played through the recorded policy, by seed; empty where that is unknown.
        shares: Passed on.
    """
    was, there = steady_figures(recorded), steady_figures(_comparable(placed, recorded))
    through = [steady_figures(_comparable(run, recorded)) for run in policy]
    deviations = {
        name: Deviation(figure=name, recorded=known, placed=at_place, policy=_mean(through, name))
        for latency in LATENCIES
        for name in (f"{latency}_{part}_s" for part in PARTS)
        if (known := was[name]) and (at_place := there[name]) is not None
    }
    ranks = {latency: _ranks(recorded, placed, latency) for latency in LATENCIES}
    verdict, because = _verdict(deviations, ranks)
    return Trust(
        verdict=verdict,
        because=because,
        deviations=deviations,
        ranks=ranks,
        requests=int(was["requests"] or 0),
        told={latency: _told(recorded, latency) for latency in LATENCIES},
        shares=dict(shares),
    )


def _comparable(played: Run, recorded: Run) -> Run:
    """Forget latencies of the play that nobody recorded: of answers that were not streamed."""
    told = {each.request_id: each for each in recorded.outcomes}
    return replace(
        played, outcomes=tuple(_as_told(each, told[each.request_id]) for each in played.outcomes)
    )


def _as_told(each: Outcome, told: Outcome) -> Outcome:
    if told.outcome != "completed":
        return each
    return replace(
        each,
        ttft_s=None if told.ttft_s is None else each.ttft_s,
        tpot_s=None if told.tpot_s is None else each.tpot_s,
    )


def _mean(runs: Sequence[Figures], name: str) -> float | None:
    known = [value for run in runs if (value := run[name]) is not None]
    return float(np.mean(known)) if known else None


def _verdict(
    deviations: Mapping[str, Deviation], ranks: Mapping[str, float | None]
) -> tuple[Verdict, str]:
    judged = [
        (abs(error), name, error)
        for name, each in deviations.items()
        if name.split("_")[1] in JUDGED
        for error in (each.placed_error, each.policy_error)
        if error is not None
    ]
    known = [(value, latency) for latency, value in ranks.items() if value is not None]
    if not judged:
        return "poor", "no latency was recorded in the part that is judged"
    off, name, error = max(judged)
    latency, part = name.split("_")[:2]
    because = f"{latency.upper() if latency != 'e2e' else latency} {part} is {error:+.0%} off"
    lowest, ranked = min(known, default=(1.0, ""))
    if known:
        because += (
            f", ranks of {ranked.upper() if ranked != 'e2e' else ranked} agree to {lowest:.2f}"
        )
    if off <= GOOD_ERROR and lowest >= GOOD_RANKS:
        return "good", f"at worst {because}"
    if off <= FAIR_ERROR and lowest >= FAIR_RANKS:
        return "fair", f"at worst {because}"
    return "poor", because


def _told(recorded: Run, latency: str) -> float | None:
    answered = _answered(recorded)
    having = [each for each in answered if latency != "tpot" or each.output_tokens != 1]
    if answered and not having:
        return None
    known = sum(getattr(each, f"{latency}_s") is not None for each in having)
    return known / len(having) if having else 0.0


def _answered(run: Run) -> list[Outcome]:
    """List what completed of what arrived in the part that is judged."""
    begin_s, end_s = run.warmup_s, run.warmup_s + run.measure_s
    return [
        each
        for each in run.outcomes
        if each.outcome == "completed" and begin_s <= each.arrived_s < end_s
    ]


def _ranks(recorded: Run, placed: Run, latency: str) -> float | None:
    again = {each.request_id: each for each in placed.outcomes}
    pairs = [
        (was_s, played_s)
        for each in _answered(recorded)
        if (was_s := getattr(each, f"{latency}_s")) is not None
        if (played_s := getattr(again[each.request_id], f"{latency}_s")) is not None
    ]
    if len(pairs) < _RANKED:
        return None
    was, played = np.array(pairs).T
    if np.percentile(was, 90) < _SPREAD * np.percentile(was, 10):
        return None  # all alike: their order is chance
    return rank_correlation(was, played)


def rank_correlation(one: FloatArray, other: FloatArray) -> float:
    """Give Spearman's correlation of ``(n,)`` values that hardly ever are equal.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([5.0, 6.0, 7.0]))
    1.0
    """
    ranks = np.array([np.argsort(np.argsort(values)) for values in (one, other)], dtype=float)
    return round(float(np.corrcoef(ranks)[0, 1]), 4)
