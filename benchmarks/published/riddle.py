"""Why b2b-saas saturated at 18 requests/s in a study and "ran" at 40 to 60 when published.

Every lead is played by itself on top of the study's setting, then all of them together:
once at a steady rate above every capacity, once as a stage of the guide's ladder. Then the
whole ladder, beside what the guide's benchmark report says of each stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from benchmarks.published.ladder import GUIDE, SHORT, Ladder
from benchmarks.published.scene import Scene

POLICY: Final = "prefix_affinity"
"""llm-d's default, which the published ladder was run with."""

STEADY: Final = Scene(
    policy=POLICY, workload="b2b-saas", rate=25.0, warmup_s=180.0, measure_s=120.0
)
"""More than any variant completes, so that what completes is the capacity."""

STAGE: Final = Scene(
    policy=POLICY, workload="b2b-saas", ladder=Ladder(stages=((15.0, 50.0), (40.0, 38.0)))
)

GUIDE_TRAFFIC: Final[Mapping[str, object]] = {
    "system_tokens": 6313,
    "question": {"mean": 1264},
    "max_prompt_tokens": 7577,
}
"""Prompts as the server counted them: 7,577 tokens in the guide's report, where 6,000 and
1,200 were asked for; both parts are taken to have grown alike."""

GUIDE_ENGINE: Final[Mapping[str, float]] = {"kv_tokens": 356_000, "max_num_seqs": 1024}
"""What ``--gpu-memory-utilization=0.95`` leaves by the profile's own formula, and vLLM's
default batch on an H100 (``EngineArgs.get_batch_defaults``)."""

GUIDE_ENDPOINTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Name what a variant changes in the study's setting.

    Attributes:
        name: As tables call it.
        endpoints: Of the fleet, ``None`` for its own ten.
        engine: Settings of the engines.
        traffic: Keys of the workload.
    """

    name: str
    endpoints: int | None = None
    engine: tuple[tuple[str, float], ...] = ()
    traffic: tuple[tuple[str, object], ...] = ()

    def of(self, scene: Scene) -> Scene:
        """Give the scene with this change."""
        return replace(
            scene,
            endpoints=self.endpoints,
            engine=dict(self.engine),
            traffic=dict(self.traffic),
        )


_FRESH: Final = (("multi_turn", True), ("max_turns", 1), ("users_per_group", 20))

CHANGES: Final = (
    Change(name="as in the study: ten endpoints, 323k of KV, batches of 256, 7,200 + 1,000"),
    Change(name="every question asked once only", traffic=_FRESH),
    Change(name="KV 356k: 0.95 of the memory", engine=(("kv_tokens", 356_000),)),
    Change(name="KV 512k: the post's figure", engine=(("kv_tokens", 512_000),)),
    Change(name="batches of 1,024", engine=(("max_num_seqs", 1024),)),
    Change(name="prompts of 7,577", traffic=tuple(GUIDE_TRAFFIC.items())),
    Change(name="answers of 937", traffic=(("output", {"mean": 937, "max": 937}),)),
    Change(name="eight endpoints", endpoints=GUIDE_ENDPOINTS),
    Change(
        name="as in the guide: eight, 356k, 1,024, 7,577 + 1,000",
        endpoints=GUIDE_ENDPOINTS,
        engine=tuple(GUIDE_ENGINE.items()),
        traffic=tuple(GUIDE_TRAFFIC.items()),
    ),
)
QUICK_CHANGES: Final = (CHANGES[0], CHANGES[-1])


def guide_scene(policy: str, *, quick: bool) -> Scene:
    """Give the guide's ladder as its report describes it."""
    return Scene(
        policy=policy,
        workload="b2b-saas",
        ladder=Ladder(stages=SHORT if quick else GUIDE),
        endpoints=GUIDE_ENDPOINTS,
        engine=GUIDE_ENGINE,
        traffic=GUIDE_TRAFFIC,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Hold what the guide's report says of one stage and arm.

    Attributes:
        output_tokens_per_s: Over the time to the last answer.
        ttft_p50_s: Median TTFT, ``None`` where the report's histogram is empty.
        ttft_p90_s: Likewise.
    """

    output_tokens_per_s: float
    ttft_p50_s: float | None
    ttft_p90_s: float | None


def _report(
    rows: Mapping[float, tuple[float, float | None, float | None]],
) -> dict[float, Report]:
    return {
        rate: Report(output_tokens_per_s=tokens, ttft_p50_s=p50, ttft_p90_s=p90)
        for rate, (tokens, p50, p90) in rows.items()
    }


PUBLISHED: Final[Mapping[str, Mapping[float, Report]]] = {
    "prefix_affinity": _report(
        {
            20.0: (6656, 0.4, 4.2),
            22.0: (10809, 0.2, 1.4),
            25.0: (10452, 0.2, 0.2),
            30.0: (10509, 0.1, 0.2),
            35.0: (12290, 0.1, 0.2),
            40.0: (14134, 0.1, 0.3),
            43.0: (13522, 0.2, 0.2),
            46.0: (14050, 0.1, 0.2),
            49.0: (14941, 0.9, 2.1),
            52.0: (14542, 0.3, 1.3),
            55.0: (14607, 0.1, 0.2),
            57.0: (13451, 0.2, 19.9),
            60.0: (13528, 0.2, 0.9),
        }
    ),
    "round_robin": _report(
        {
            20.0: (4555, 0.9, 2.4),
            22.0: (6239, 18.3, 46.1),
            25.0: (6350, 0.4, 0.9),
            30.0: (6251, 0.8, 4.9),
            35.0: (6544, 21.0, 46.2),
            40.0: (6228, 20.0, 37.9),
            43.0: (6860, 25.7, 61.9),
            46.0: (6526, 20.4, 66.8),
            49.0: (6956, 66.9, 139.9),
            52.0: (7049, 69.9, 143.8),
            55.0: (6402, 78.3, 158.5),
            57.0: (6317, 83.1, 153.3),
            60.0: (6764, 88.1, 154.1),
        }
    ),
}
"""By arm and rate. Source: llm-d guides/optimized-baseline, benchmark-results for
Qwen3-32B on 16 H100 (eight endpoints), 2026; ``round_robin`` is a plain Service there."""
