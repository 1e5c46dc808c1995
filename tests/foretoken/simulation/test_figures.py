"""The figures of hand-made runs, whose answers can be worked out on paper."""

import pytest

from foretoken.simulation.figures import (
    FIGURES,
    Spread,
    spread,
    steady_figures,
    transient_figures,
)
from foretoken.simulation.outcome import UNFINISHED, Outcome, Run
from tests.foretoken.played import answered, played


def outcome(at_s: float, ttft_s: float | None = 1.0, **changes: object) -> Outcome:
    return answered(at_s, ttft_s=ttft_s, **{"cached_tokens": 25, **changes})


def run(*outcomes: Outcome, **changes: object) -> Run:
    known = {"rate": 2.0, "warmup_s": 10.0, "measure_s": 30.0, "endpoints": ("a", "b")}
    return played(*outcomes, **{**known, **changes})


def test_only_what_arrives_in_the_window_is_steady_and_only_what_precedes_it_transient() -> None:
    played = run(
        outcome(0, 9.0), outcome(9.99, 7.0), outcome(10, 1.0), outcome(39.9, 3.0), outcome(40, 99.0)
    )

    steady, transient = steady_figures(played), transient_figures(played)

    assert (steady["requests"], transient["requests"]) == (2, 2)
    assert (steady["ttft_mean_s"], transient["ttft_mean_s"]) == (2.0, 8.0)


def test_latencies_have_the_percentiles_of_the_values() -> None:
    played = run(*(outcome(10 + index / 10, float(index)) for index in range(101)))

    found = steady_figures(played)

    assert [found[f"ttft_{part}_s"] for part in ("mean", "p50", "p90", "p99")] == [50, 50, 90, 99]
    assert found["e2e_p50_s"] == 51.0
    assert found["ntpot_p50_s"] == 4.63636  # 51 s over 11 tokens
    assert found["tpot_mean_s"] == 0.1


def test_requests_that_were_shed_or_failed_have_shares_and_no_latency() -> None:
    played = run(
        outcome(10, 2.0),
        outcome(11, None, outcome="shed", endpoint=None),
        outcome(12, None, outcome="upstream_error", e2e_s=50.0),
        outcome(13, 4.0, outcome="cut", e2e_s=50.0),
    )

    found = steady_figures(played)

    assert (found["shed_ratio"], found["error_ratio"], found["unfinished_ratio"]) == (0.25, 0.5, 0)
    assert found["e2e_mean_s"] == 3.0
    assert found["ttft_mean_s"] == 3.0


def test_what_a_cut_run_leaves_under_way_counts_with_the_time_it_has_taken() -> None:
    played = run(
        outcome(10, 2.0),
        outcome(20, None, outcome=UNFINISHED),
        outcome(30, 4.0, outcome=UNFINISHED, e2e_s=None, tpot_s=99.0),
        truncated=True,
    )

    found = steady_figures(played)

    assert found["ttft_mean_s"] == pytest.approx((2 + 80 + 4) / 3, rel=1e-5)
    assert found["e2e_mean_s"] == pytest.approx((3 + 80 + 70) / 3, rel=1e-5)
    assert found["tpot_mean_s"] == 0.1
    assert found["unfinished_ratio"] == pytest.approx(2 / 3, rel=1e-5)


def test_goodput_counts_over_all_arrivals_those_that_meet_both_objectives() -> None:
    played = run(
        outcome(10, 0.5),
        outcome(11, 0.5, tpot_s=0.3),
        outcome(12, 2.0),
        outcome(13, 0.5, tpot_s=None),
        outcome(14, None, outcome="shed"),
        objective_ttft_s=1.0,
        objective_tpot_s=0.2,
    )

    found = steady_figures(played)

    assert found["goodput_ratio"] == 0.4
    assert found["goodput_per_s"] == pytest.approx(2 / 30, rel=1e-5)


def test_without_objectives_there_is_no_goodput() -> None:
    found = steady_figures(run(outcome(10)))

    assert found["goodput_ratio"] is None
    assert found["goodput_per_s"] is None


def test_throughput_counts_what_ends_in_the_window_whenever_it_arrived() -> None:
    played = run(
        outcome(5, e2e_s=4.0, output_tokens=1),  # ends before
        outcome(6, e2e_s=10.0, output_tokens=20),
        outcome(20, e2e_s=10.0, output_tokens=40),
        outcome(39, e2e_s=10.0, output_tokens=1),  # ends after
    )

    found = steady_figures(played)

    assert found["completed_per_s"] == pytest.approx(2 / 30, rel=1e-5)
    assert found["output_tokens_per_s"] == 2.0


def test_the_hit_ratio_weighs_completed_requests_by_their_prompts() -> None:
    played = run(
        outcome(10, prompt_tokens=100, cached_tokens=0),
        outcome(11, prompt_tokens=300, cached_tokens=300),
        outcome(12, None, outcome="shed", prompt_tokens=10_000, cached_tokens=0),
        outcome(13, outcome="cut", prompt_tokens=10_000, cached_tokens=0),
        outcome(14, outcome=UNFINISHED, prompt_tokens=10_000, cached_tokens=0),
    )

    assert steady_figures(played)["hit_ratio"] == 0.75


def test_imbalance_is_the_busiest_endpoint_over_the_mean_of_all_of_them() -> None:
    played = run(
        outcome(10, endpoint="a"), outcome(11, endpoint="a"), outcome(12, endpoint="a"),
        outcome(13, endpoint="b", prompt_tokens=289 + 33),
    )  # fmt: skip

    found = steady_figures(played)

    assert found["imbalance_requests"] == 1.5
    assert found["imbalance_tokens"] == 1.0


def test_an_endpoint_that_got_nothing_counts_in_the_imbalance() -> None:
    found = steady_figures(run(outcome(10, endpoint="a"), endpoints=("a", "b", "c", "d")))

    assert found["imbalance_requests"] == 4.0


def test_prediction_errors_compare_with_what_was_measured_since_dispatch() -> None:
    played = run(
        outcome(10, 9.0, upstream_ttft_s=1.0, predicted_ttft_s=1.5),
        outcome(11, 9.0, upstream_ttft_s=2.0, predicted_ttft_s=1.8),
        outcome(12, 9.0, upstream_ttft_s=1.0, predicted_ttft_s=1.2, predicted_tpot_s=0.05),
        outcome(13, 9.0, upstream_ttft_s=1.0),
    )

    found = steady_figures(played)

    assert found["ttft_error_mdape"] == pytest.approx(0.2)
    assert found["ttft_error_mape"] == pytest.approx((0.5 + 0.1 + 0.2) / 3, rel=1e-5)
    assert found["ttft_error_bias"] == pytest.approx(4.5 / 4 - 1)
    assert found["tpot_error_bias"] == pytest.approx(-0.5)


def test_the_late_mean_is_of_the_last_third_of_the_window() -> None:
    played = run(outcome(10, 50.0), outcome(29.9, 50.0), outcome(30, 1.0), outcome(39, 2.0))

    assert steady_figures(played)["ttft_late_mean_s"] == 1.5


def test_a_run_without_requests_has_every_figure_and_no_latency() -> None:
    found = steady_figures(run())

    assert list(found) == list(FIGURES)
    assert found["requests"] == 0
    assert found["ttft_mean_s"] is None
    assert found["imbalance_requests"] is None


def test_figures_have_six_significant_digits() -> None:
    assert steady_figures(run(outcome(10, 1 / 3)))["ttft_mean_s"] == 0.333333


def test_a_spread_gives_mean_and_range_of_the_seeds_that_have_a_value() -> None:
    found = spread([{"requests": 1.0, "hit_ratio": None}, {"requests": 4.0, "hit_ratio": 0.5}])

    assert found["requests"] == Spread(mean=2.5, low=1.0, high=4.0)
    assert found["hit_ratio"] == Spread(mean=0.5, low=0.5, high=0.5)


def test_a_spread_of_what_no_seed_measured_is_unknown() -> None:
    assert spread([{"hit_ratio": None}, {"hit_ratio": None}])["hit_ratio"] is None
