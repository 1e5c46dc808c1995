"""What all small immutable values have in common, in either build."""

import gc

import pytest

from foretoken.kind import kind
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


def test_the_garbage_collector_passes_values_over() -> None:
    head = RequestHead(method=b"GET", target=b"/", path="/", lines=[], named={})

    assert isinstance(head, Value)
    assert not gc.is_tracked(head)


def test_defaults_are_filled_in() -> None:
    head = RequestHead(method=b"GET", target=b"/", path="/", lines=[], named={})

    assert head.http_1_1
    assert head.keep_alive
