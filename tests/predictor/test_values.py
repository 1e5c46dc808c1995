"""What all small immutable values have in common, in either build."""

import gc
from unittest.mock import ANY

import pytest

from foretoken.kind import kind
from predictor.types import Objective, RequestFeatures
from predictor.values import Value, replace
from proxy.http_request import RequestHead
from proxy.reply import ReplyHead
from scheduler.objectives import Held


@pytest.mark.skipif(kind() == "compiled", reason="native classes are held to it by types alone")
def test_a_value_is_frozen() -> None:
    held = Held(reason="endpoints_full")

    with pytest.raises(AttributeError):
        held.reason = "no_endpoint"  # type: ignore[misc]


def test_values_are_equal_by_what_they_hold_and_can_be_changed_into_others() -> None:
    head = ReplyHead(200, b"a: b\r\n", None)

    other = replace(head, status=404)

    assert head == ReplyHead(200, b"a: b\r\n", None)
    assert (other.status, head.status) == (404, 200)


def test_equal_values_have_one_hash_and_show_what_they_hold() -> None:
    one, other = Objective(ttft_s=0.5), Objective(ttft_s=0.5)

    assert hash(one) == hash(other)
    assert repr(one) == "Objective(ttft_s=0.5, tpot_s=None)"


def test_a_value_with_an_unknown_number_is_equal_to_itself() -> None:
    asked = RequestFeatures(request_id="r", arrived_s=float("nan"), model="m")

    same = asked
    assert asked == same


def test_a_value_lets_what_is_none_say_whether_they_are_equal() -> None:
    assert Objective() == ANY
    assert Objective() != 0.5


def test_the_garbage_collector_passes_values_over() -> None:
    head = RequestHead(method=b"GET", target=b"/", path="/", lines=[], named={})

    assert isinstance(head, Value)
    assert not gc.is_tracked(head)


def test_defaults_are_filled_in() -> None:
    head = RequestHead(method=b"GET", target=b"/", path="/", lines=[], named={})

    assert head.http_1_1
    assert head.keep_alive
