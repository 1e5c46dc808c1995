"""When an objective counts as met."""

import pytest

from predictor.types import Measurement, Objective, Outcome, RequestFeatures, RequestRecord
from proxy.attainment import is_met

BOTH = Objective(ttft_s=0.5, tpot_s=0.1)


def record(
    outcome: Outcome = "completed",
    *,
    tokens: int | None = 9,
    ttft_s: float | None = 0.5,
    tpot_s: float | None = 0.05,
) -> RequestRecord:
    return RequestRecord(
        request=RequestFeatures(request_id="r", arrived_s=0.0, model="m"),
        fleet="m",
        decision=None,
        endpoint="a:1",
        attempts=1,
        measurement=Measurement(outcome=outcome, output_tokens=tokens),
        finished_s=1.0,
        ttft_s=ttft_s,
        tpot_s=tpot_s,
    )


@pytest.mark.parametrize(
    ("outcome", "met"),
    [
        ("completed", True),
        ("cut", False),
        ("shed", False),
        ("upstream_error", False),
        ("client_gone", None),
        ("client_error", None),
        ("shutdown", None),
    ],
)
def test_only_what_the_service_answers_for_is_judged(outcome: Outcome, met: bool | None) -> None:
    assert is_met(record(outcome), BOTH) is met
    assert is_met(record(outcome), Objective()) is None


def test_one_token_has_no_gap_that_could_be_too_long() -> None:
    assert is_met(record(tokens=1, tpot_s=None), BOTH) is True
    assert is_met(record(tokens=1, tpot_s=None, ttft_s=0.6), BOTH) is False


def test_what_nobody_measured_is_not_judged_unless_it_was_missed_anyway() -> None:
    assert is_met(record(tokens=None, tpot_s=None), BOTH) is None
    assert is_met(record(ttft_s=None), BOTH) is None
    assert is_met(record(ttft_s=None, tpot_s=0.2), BOTH) is False
