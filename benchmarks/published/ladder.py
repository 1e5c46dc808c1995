"""Stages as inference-perf plays them, and what its report of one says.

Each stage sends at its rate for a while, then waits until the last answer is there; only
then does the next begin. Its report divides the requests by the time from the stage's
first request to its *last answer*; what charts call QPS is the rate at which they were
sent. Here a pause of fixed length stands for the waiting: caches keep while nobody asks.

Source: llm-d guides (precise-prefix-cache-aware, optimized-baseline), inference-perf
``shared_prefix`` with stages and per-stage reports, 2026-01 to 2026-08.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from foretoken.simulation.outcome import Outcome, Run

PAUSE_S: Final = 300.0
"""Longer than any stage here takes to drain; ``stages_of`` refuses one that does not."""

GUIDE: Final = (
    (15.0, 50.0),
    (3.0, 20.0),
    (10.0, 20.0),
    (15.0, 20.0),
    (20.0, 38.0),
    (22.0, 34.0),
    (25.0, 30.0),
    (30.0, 25.0),
    (35.0, 21.0),
    (40.0, 38.0),
    (43.0, 36.0),
    (46.0, 33.0),
    (49.0, 30.0),
    (52.0, 29.0),
    (55.0, 27.0),
    (57.0, 26.0),
    (60.0, 25.0),
)
"""Rate (1/s) and length (s) of the guide's stages. From 20/s on a stage is the 750 prompts
once, from 40/s on twice."""

SHORT: Final = tuple(GUIDE[index] for index in (0, 4, 7, 8, 9, 16))
"""One stage of each kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Hold the stages of a run.

    Attributes:
        stages: Rate and length of each.
        passes: How often the whole is played; the last pass is read. With two, caches and
            a model that learns have seen the load before.
    """

    stages: tuple[tuple[float, float], ...]
    passes: int = 1

    @property
    def pass_s(self) -> float:
        """Give the length of one pass, pauses included."""
        return sum(seconds + PAUSE_S for _, seconds in self.stages)

    @property
    def seconds(self) -> float:
        """Give the length of all passes."""
        return self.passes * self.pass_s

    @property
    def mean_rate(self) -> float:
        """Give the mean arrivals a second, pauses included.

        >>> Ladder(stages=((10.0, 100.0),)).mean_rate
        2.5
        """
        return sum(rate * seconds for rate, seconds in self.stages) / self.pass_s

    def as_toml(self) -> list[dict[str, float]]:
        """Give the stages as a workload file has them."""
        return [
            stage
            for rate, seconds in self.stages
            for stage in (
                {"seconds": seconds, "weight": rate},
                {"seconds": PAUSE_S, "weight": 0.0},
            )
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Hold what a report says of one stage.

    Attributes:
        rate: Requests a second as sent.
        requests: How many there were.
        ttft_mean_s: Mean TTFT.
        ttft_p50_s: Median of the same.
        ttft_p90_s: 90th percentile of the same.
        tpot_mean_s: Mean TPOT.
        e2e_mean_s: Mean end-to-end time.
        requests_per_s: Requests over the time from the first one to the last answer.
        input_tokens_per_s: Prompt tokens over the same time, cached ones included.
        output_tokens_per_s: Output tokens over the same time.
        hit_ratio: Cached over prompt tokens.
    """

    rate: float
    requests: int
    ttft_mean_s: float
    ttft_p50_s: float
    ttft_p90_s: float
    tpot_mean_s: float
    e2e_mean_s: float
    requests_per_s: float
    input_tokens_per_s: float
    output_tokens_per_s: float
    hit_ratio: float

    def figures(self) -> dict[str, float]:
        """Give everything but the rate by name."""
        return {name: value for name, value in asdict(self).items() if name != "rate"}


def stages_of(run: Run, ladder: Ladder) -> list[Stage]:
    """Read the stages of a run's last pass.

    Raises:
        ValueError: A stage had not drained when the next began.
    """
    begin_s, found = (ladder.passes - 1) * ladder.pass_s, []
    for rate, seconds in ladder.stages:
        sent = [each for each in run.outcomes if begin_s <= each.arrived_s < begin_s + seconds]
        found.append(_stage(rate, sent, limit_s=begin_s + seconds + PAUSE_S))
        begin_s += seconds + PAUSE_S
    return found


def _stage(rate: float, sent: Sequence[Outcome], *, limit_s: float) -> Stage:
    ended_s = [each.arrived_s + each.e2e_s for each in sent if each.e2e_s is not None]
    if len(ended_s) < len(sent) or max(ended_s) > limit_s:
        raise ValueError(f"the stage of {rate:g} requests/s did not drain in {PAUSE_S:g} s")
    span_s = max(ended_s) - min(each.arrived_s for each in sent)
    ttft_s = np.array([each.ttft_s for each in sent], dtype=np.float64)
    prompt_tokens = sum(each.prompt_tokens for each in sent)
    gaps_s = [each.tpot_s for each in sent if each.tpot_s is not None]
    return Stage(
        rate=rate,
        requests=len(sent),
        ttft_mean_s=float(ttft_s.mean()),
        ttft_p50_s=float(np.percentile(ttft_s, 50)),
        ttft_p90_s=float(np.percentile(ttft_s, 90)),
        tpot_mean_s=float(np.mean(gaps_s)),
        e2e_mean_s=float(np.mean([each.e2e_s for each in sent if each.e2e_s is not None])),
        requests_per_s=len(sent) / span_s,
        input_tokens_per_s=prompt_tokens / span_s,
        output_tokens_per_s=sum(each.output_tokens for each in sent) / span_s,
        hit_ratio=sum(each.cached_tokens for each in sent) / prompt_tokens,
    )
