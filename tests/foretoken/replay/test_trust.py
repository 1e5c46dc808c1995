from dataclasses import replace

import pytest

from foretoken.replay.trust import judge
from foretoken.simulation.outcome import Run
from tests.foretoken.played import answered, played


def run(times: float = 1.0, *, backwards: bool = False) -> Run:
    sizes = range(99, -1, -1) if backwards else range(100)
    return played(
        *(
            answered(
                number,
                ttft_s=(ttft_s := times * 0.01 * (size + 5)),
                tpot_s=(tpot_s := times * 0.001 * (size + 5)),
                e2e_s=ttft_s + 10 * tpot_s,
            )
            for number, size in enumerate(sizes)
        )
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
    assert trust.unjudged == ("ttft",)
    assert trust.told == {"ttft": 0.0, "tpot": 1.0, "e2e": 1.0}


def test_of_answers_of_one_token_no_gap_is_missed() -> None:
    was = run()
    one = tuple(replace(each, output_tokens=1, tpot_s=None) for each in was.outcomes)

    trust = judge(replace(was, outcomes=one), replace(was, outcomes=one), [], {})

    assert trust.unjudged == ()
    assert trust.told == {"ttft": 1.0, "tpot": None, "e2e": 1.0}
