"""Bounds on output that the context has no room for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.clamp import Room, fitting, with_bound
from proxy.errors import ContextExceeded, to_response
from proxy.settings import ContextSettings

ROOM = Room(least_tokens=1000, most_tokens=2000)


def ask(excess: str, *, asked: int = 900, prompt: int = 200, exact: bool = True) -> int | None:
    settings = ContextSettings.model_validate(
        {"excess": excess, "margin_ratio": 0.1, "margin_tokens": 20}
    )
    return fitting(asked=asked, prompt_tokens=prompt, exact=exact, room=ROOM, settings=settings)


def test_by_default_the_endpoint_decides() -> None:
    assert ContextSettings().excess == "pass"
    assert ask("pass", asked=10**6) is None


def test_a_counted_prompt_leaves_exactly_the_rest() -> None:
    assert ask("clamp") == 800
    assert ask("clamp", prompt=100) is None


def test_an_estimated_prompt_leaves_less() -> None:
    assert ask("clamp", exact=False) == 760


def test_a_prompt_that_leaves_nothing_is_the_endpoints_to_refuse() -> None:
    assert ask("clamp", prompt=1000) is None


def test_what_no_endpoint_has_room_for_is_refused() -> None:
    with pytest.raises(ContextExceeded) as caught:
        ask("refuse", asked=1801)

    answer = to_response(caught.value)
    assert (answer.status, answer.param) == (400, "max_tokens")
    assert (caught.value.asked_tokens, caught.value.prompt_tokens) == (1801, 200)
    assert caught.value.context_tokens == 2000


def test_what_some_endpoint_has_room_for_and_what_may_fit_is_not_refused() -> None:
    assert ask("refuse", asked=1800) is None
    assert ask("refuse", asked=1840, exact=False) is None


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b'{"max_tokens":9}', b'{"max_tokens":5}'),
        (b'{"max_tokens":3}', None),
        (b'{"max_tokens":null}', None),
        (b'{"max_tokens":"9"}', None),
        (b'{"max_tokens":9.5}', None),
        (b"{}", None),
        (
            b'{"max_tokens":9,"max_completion_tokens" :\n 7 ,"max_output_tokens":6}',
            b'{"max_tokens":5,"max_completion_tokens" :\n 5 ,"max_output_tokens":5}',
        ),
        (b'{"max_tokens":9,"max_tokens":8}', b'{"max_tokens":5,"max_tokens":5}'),
        (b'{"a":{"max_tokens":9},"b":[{"max_tokens":9}]}', None),
        (b'{"a":"max_tokens","b":"\\"max_tokens\\":9","c":"}{"}', None),
        (b'{"a":"}\\\\","max_tokens":9}', b'{"a":"}\\\\","max_tokens":5}'),
        ('{"ü":"ü","max_tokens":9}'.encode(), '{"ü":"ü","max_tokens":5}'.encode()),
    ],
)
def test_only_the_numbers_of_the_outermost_object_change(
    payload: bytes, expected: bytes | None
) -> None:
    assert with_bound(payload, 5) == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["max_tokens", "a", '"', "{"]) | st.text(), inner)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _JSON), st.integers(6, 10**9), st.booleans(), st.integers(0, 4))
def test_whatever_else_the_body_holds_stays(
    others: dict[str, object], asked: int, escaped: bool, indent: int
) -> None:
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        others.pop(name, None)
    payload = json.dumps(
        {**others, "max_tokens": asked}, ensure_ascii=escaped, indent=indent or None
    ).encode("utf-8", "surrogatepass")

    changed = with_bound(payload, 5)

    assert changed is not None
    assert json.loads(changed) == {**json.loads(payload), "max_tokens": 5}
    assert len(payload) - len(changed) == len(str(asked)) - 1
