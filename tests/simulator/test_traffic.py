import pytest

from simulator.traffic import TrafficRequest


def _request(*, at_s: float | None, think_s: float = 0.0) -> TrafficRequest:
    return TrafficRequest(
        session_id="s",
        segments=((1, 10),),
        prompt_tokens=10,
        output_tokens=5,
        answer_id=2,
        at_s=at_s,
        think_s=think_s,
    )


@pytest.mark.parametrize(
    ("at_s", "think_s", "predecessor_ended_s", "due_s"),
    [
        (5.0, 2.0, None, 5.0),  # the first of a chain
        (None, 2.0, None, 0.0),
        (5.0, 2.0, 1.0, 5.0),  # its time comes after the predecessor's end and the thinking
        (5.0, 2.0, 4.0, 6.0),  # and before
        (None, 2.0, 40.0, 42.0),  # closed loop
    ],
)
def test_a_request_is_due_at_its_time_or_after_its_predecessor(
    at_s: float | None, think_s: float, predecessor_ended_s: float | None, due_s: float
) -> None:
    assert _request(at_s=at_s, think_s=think_s).due_s(predecessor_ended_s) == due_s
