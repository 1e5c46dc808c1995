"""What llm-d published about its latency predictor beside its siblings, and our runs of it.

A claim compares the predictor with siblings in one figure. Its *direction* holds where
ours falls on the same side: published better by a tenth or more, ours is lower; worse by
a tenth, ours is higher; else a tie, and ours is within a quarter. Digits are not compared:
hardware, versions and much of the traffic are not known well enough.

Sources: llm-d blog of 2026-03-13 (predicted-latency scheduling; A to D, ShareGPT,
production-like) and of 2026-08-17 (sticky until saturated; b2b-saas, code generation,
reasoning), values read off its charts; guide predicted-latency-routing (2026-08).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from benchmarks.published.ladder import Ladder
from benchmarks.published.riddle import (
    GUIDE_ENDPOINTS,
    GUIDE_ENGINE,
    GUIDE_TRAFFIC,
)
from benchmarks.published.scene import Scene
from foretoken.simulation.llmd_rows import MATCH_TOKENS_2026_03

PREDICTOR: Final = "llmd_predictor"
CLEAR: Final = 1.1
"""Ratio from which a published difference is one."""
TIED: Final = 1.25
"""Largest ratio of ours that still is a tie: published points are single runs."""

Direction = Literal["better", "tie", "worse"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Hold one figure of the predictor and of siblings, as published.

    Attributes:
        name: As tables call it.
        scene: What is played, with the predictor.
        figure: Name of the figure in ``Reading.figures``; lower is better.
        published: Its value by arm, the predictor's among them.
        higher_is_better: For throughput.
    """

    name: str
    scene: Scene
    figure: str
    published: Mapping[str, float]
    higher_is_better: bool = False

    @property
    def siblings(self) -> list[str]:
        """Name the arms the predictor is compared with."""
        return [name for name in self.published if name != PREDICTOR]

    def ratio(self, values: Mapping[str, float], sibling: str) -> float:
        """Give predictor over sibling, above 1 where the predictor is worse."""
        ratio = values[PREDICTOR] / values[sibling]
        return 1 / ratio if self.higher_is_better else ratio

    def direction(self, sibling: str) -> Direction:
        """Say how the predictor did beside a sibling, as published."""
        ratio = self.ratio(self.published, sibling)
        if ratio > CLEAR:
            return "worse"
        return "better" if ratio < 1 / CLEAR else "tie"

    def holds(self, ours: Mapping[str, float], sibling: str) -> bool:
        """Tell whether ours has the published direction."""
        ratio = self.ratio(ours, sibling)
        match self.direction(sibling):
            case "better":
                return ratio < 1.0
            case "worse":
                return ratio > 1.0
        return 1 / TIED < ratio < TIED


_AS_CONFIGURED: Final[Mapping[str, object]] = {
    "question": {"shape": "normal", "mean": 729, "sd": 13550, "max": 121880},
    "output": {"shape": "lognormal", "mean": 430, "sd": 300, "max": 8192},
}
"""inference-perf clips a normal: half the questions are one token, the others 10,800 on
average. Answers: median 350 and 95th percentile 1,000, as the published E2E and TPOT imply."""

_MARCH: Final = MATCH_TOKENS_2026_03
_BURST: Final = Scene(
    policy=PREDICTOR, workload="burst", rate=8.0, measure_s=480.0, match_tokens=_MARCH
)
_BURST_CONFIGURED: Final = replace(
    _BURST, rate=3.0, endpoints=13, engine={"kv_tokens": 2_000_000}, traffic=_AS_CONFIGURED
)
_LADDER: Final = Scene(
    policy=PREDICTOR,
    workload="b2b-saas",
    # Twice, as the guide asks for: the pass that is read finds a trained model.
    ladder=Ladder(stages=((15.0, 50.0), (20.0, 38.0), (35.0, 21.0), (40.0, 38.0)), passes=2),
    endpoints=GUIDE_ENDPOINTS,
    engine=GUIDE_ENGINE,
    traffic=GUIDE_TRAFFIC,
)
_POST: Final[Mapping[str, float]] = {"kv_tokens": 512_000}  # 32,000 blocks, says the post


def _post(name: str, rate: float) -> Scene:
    return Scene(policy=PREDICTOR, workload=name, rate=rate, engine=_POST, match_tokens=_MARCH)


def _users(name: str, users: float) -> Scene:
    return Scene(policy=PREDICTOR, workload=name, rate=users, warmup_s=180.0, measure_s=420.0)


def _values(predictor: float, **siblings: float) -> dict[str, float]:
    return {PREDICTOR: predictor, **siblings}


CLAIMS: Final = (
    *(
        Claim(name=f"production-like{how}, {label}", scene=scene, figure=figure, published=values)
        for how, scene in (("", _BURST), (", as configured", _BURST_CONFIGURED))
        for label, figure, values in (
            (
                "TTFT p50",
                "ttft_p50_s",
                _values(0.97, weighted_blend=3.38, weighted_blend_111=2.86, random=4.47),
            ),
            (
                "e2e p50",
                "e2e_p50_s",
                _values(9.06, weighted_blend=13.42, weighted_blend_111=16.42, random=15.98),
            ),
        )
    ),
    *(
        Claim(
            name=f"b2b-saas at {rate}/s, TTFT p90",
            scene=_LADDER,
            figure=f"ttft_p90_s@{rate}",
            published=values,
        )
        for rate, values in (
            (20, _values(30.0, prefix_affinity=2.5, weighted_blend=2.7, round_robin=57.0)),
            (35, _values(40.0, prefix_affinity=2.2, weighted_blend=2.8, round_robin=70.0)),
            (40, _values(111.0, prefix_affinity=20.0, weighted_blend=18.0, round_robin=153.0)),
        )
    ),
    Claim(
        name="b2b-saas at 40/s, input tokens/s",
        scene=_LADDER,
        figure="input_tokens_per_s@40",
        published=_values(52e3, prefix_affinity=100e3, weighted_blend=112e3, round_robin=46e3),
        higher_is_better=True,
    ),
    *(
        Claim(
            name=f"code generation, {users} users, TTFT p90",
            scene=_users("codegen", users),
            figure="ttft_p90_s",
            published=values,
        )
        for users, values in (
            (40, _values(27, prefix_affinity=20, weighted_blend=30, round_robin=70)),
            (60, _values(48, prefix_affinity=36, weighted_blend=70, round_robin=149)),
            (80, _values(74, prefix_affinity=66, weighted_blend=110, round_robin=108)),
            (100, _values(121, prefix_affinity=116, weighted_blend=135, round_robin=175)),
        )
    ),
    *(
        Claim(
            name=f"reasoning, {users} users, TPOT p90",
            scene=_users("reasoning", users),
            figure="tpot_p90_s",
            published=values,
        )
        for users, values in (
            (
                250,
                _values(
                    0.032, prefix_affinity_requests=0.033, prefix_affinity=0.029, round_robin=0.028
                ),
            ),
            (
                450,
                _values(
                    0.043, prefix_affinity_requests=0.043, prefix_affinity=0.046, round_robin=0.045
                ),
            ),
        )
    ),
    *(
        Claim(
            name=f"{name.removeprefix('post-').upper()} at {rate:g}/s, NTPOT p90",
            scene=_post(name, rate),
            figure="ntpot_p90_s",
            published=values,
        )
        for name, rate, values in (
            ("post-a", 11.0, _values(0.034, weighted_blend_111=0.040, round_robin=0.037)),
            ("post-b", 4.0, _values(0.047, weighted_blend_111=0.043, round_robin=0.063)),
            ("post-c", 6.0, _values(0.084, weighted_blend_111=0.073, round_robin=0.113)),
            ("post-d", 2.0, _values(0.025, weighted_blend_111=0.0275, round_robin=0.047)),
        )
    ),
    *(
        Claim(
            name=f"ShareGPT at {rate:g}/s, NTPOT p90",
            scene=Scene(
                policy=PREDICTOR,
                workload="sharegpt",
                rate=rate,
                fleet="eight-8b-h100",
                warmup_s=60.0,
                measure_s=120.0,
            ),
            figure="ntpot_p90_s",
            published=values,
        )
        for rate, values in (
            (60.0, _values(1.0, round_robin=1.0)),  # "ties until 70 requests/s"; no values read
            (80.0, _values(0.24, round_robin=0.275, weighted_blend_111=0.46)),
        )
    ),
)
"""Every claim; values in seconds, or tokens per second."""
