from dataclasses import replace

import pytest

from foretoken.replay.trust import judge
from foretoken.simulation.outcome import Outcome, Run


def outcome(number: int, ttft_s: float | None, tpot_s: float) -> Outcome:
    return Outcome(
        request_id=str(number),
        session_id="s",
        arrived_s=number,
        endpoint="a",
        outcome="completed",
        reason="",
        tier=None,
        prompt_tokens=100,
        cached_tokens=0,
        output_tokens=11,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
        e2e_s=(ttft_s or 0.1) + 10 * tpot_s,
        upstream_ttft_s=ttft_s,
        predicted_ttft_s=None,
        predicted_tpot_s=None,
        preemptions=0,
    )


def run(times: float = 1.0, *, backwards: bool = False) -> Run:
    numbers = range(100)
    sizes = list(reversed(numbers)) if backwards else list(numbers)
    return Run(
        policy="p",
        workload="w",
        fleet="f",
        rate=1.0,
        seed=1,
        warmup_s=0.0,
        measure_s=100.0,
        endpoints=("a",),
        outcomes=tuple(
            outcome(number, times * 0.01 * (size + 5), times * 0.001 * (size + 5))
            for number, size in zip(numbers, sizes, strict=True)
        ),
        engine_steps=0,
        objective_ttft_s=None,
        objective_tpot_s=None,
        ended_s=100.0,
        truncated=False,
    )


@pytest.mark.parametrize(
    ("times", "verdict"), [(1.05, "good"), (0.93, "good"), (1.2, "fair"), (1.4, "poor")]
)
def test_the_verdict_follows_the_farthest_figure(times: float, verdict: str) -> None:
    trust = judge(run(), run(times), [run(1.0)], {})

    assert trust.verdict == verdict
    assert trust.deviations["e2e_p90_s"].placed_error == pytest.approx(times - 1.0, abs=1e-4)


def test_the_policy_played_again_counts_as_much_as_the_places() -> None:
    assert judge(run(), run(), [run(1.5)], {}).verdict == "poor"
    assert judge(run(), run(), [], {}).verdict == "good"


def test_the_right_distribution_of_the_wrong_requests_is_not_trusted() -> None:
    trust = judge(run(), run(backwards=True), [run()], {})

    assert trust.verdict == "poor"
    assert trust.ranks["ttft"] == pytest.approx(-1.0)


def test_latencies_nobody_recorded_are_not_compared() -> None:
    was = run()
    untold = replace(was, outcomes=tuple(replace(each, ttft_s=None) for each in was.outcomes))

    trust = judge(untold, run(), [run()], {})

    assert "ttft_mean_s" not in trust.deviations
    assert trust.verdict == "good"
