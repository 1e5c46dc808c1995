"""Which requests have been silent for too long, and where they go then."""

import pytest

from proxy.settings import StallSettings
from proxy.stalls import Silence, is_overdue

SETTINGS = StallSettings(factor=10.0, floor_s=3.0, unpredicted_s=60.0)


def overdue_after(seconds: float, **about: object) -> bool:
    silence = Silence(**({"seconds": seconds, "streamed": True} | about))  # type: ignore[arg-type]  # test shorthand
    return is_overdue(silence, SETTINGS)


@pytest.mark.parametrize(
    ("about", "limit_s"),
    [
        ({"ttft_s": 2.0, "tpot_s": 0.5}, 20.0),
        ({"ttft_s": 2.0, "tpot_s": 0.5, "begun": True}, 5.0),
        ({"ttft_s": 0.01, "tpot_s": 0.001}, 3.0),
        ({"ttft_s": 0.01, "tpot_s": 0.001, "begun": True}, 3.0),
        ({}, 60.0),
        ({"ttft_s": 20.0, "stands_still": True}, 3.0),
        ({"streamed": False, "stands_still": True}, 3.0),
    ],
)
def test_a_request_may_be_silent_for_many_times_what_is_predicted(
    about: dict[str, object], limit_s: float
) -> None:
    assert not overdue_after(limit_s - 0.01, **about)
    assert overdue_after(limit_s, **about)


def test_an_answer_that_is_not_streamed_is_silent_however_well_it_goes() -> None:
    assert not overdue_after(10_000.0, streamed=False, ttft_s=0.1, tpot_s=0.1)
