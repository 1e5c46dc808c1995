"""Which conversation a request belongs to."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.body import decode_body
from proxy.session import CONVERSATION_HEADERS, session_of


def asked(headers: dict[bytes, bytes] | None = None, **fields: object) -> str | None:
    body = decode_body(json.dumps({"model": "m", **fields}).encode())
    assert body is not None
    return session_of(headers or {}, body)


@pytest.mark.parametrize("name", CONVERSATION_HEADERS)
def test_every_header_that_clients_use_names_a_conversation(name: bytes) -> None:
    assert asked({name: b"talk"}) == "talk"


def test_the_most_particular_name_wins() -> None:
    headers = {b"x-tenant-id": b"acme"}
    found = [asked(headers)]
    found.append(asked(headers, user="ann"))
    headers[b"x-user-id"] = b"bob"
    found.append(asked(headers, user="ann"))
    found.append(asked(headers, user="ann", prompt_cache_key="key"))
    found.append(asked(headers, prompt_cache_key="key", session_params={"session_id": "inner"}))
    found.append(asked(headers, session_params={"session_id": "inner"}, session_id="own"))
    headers[b"session-id"] = b"codex"
    found.append(asked(headers, session_id="own"))
    headers[b"x-session-id"] = b"mine"
    found.append(asked(headers, session_id="own"))

    assert found == ["acme", "ann", "bob", "key", "inner", "own", "codex", "mine"]


def test_a_child_has_a_conversation_of_its_own() -> None:
    headers = {b"x-parent-session-id": b"parent"}

    assert asked(headers) == "parent"
    assert asked({**headers, b"x-session-id": b"child"}) == "child"


@pytest.mark.parametrize("value", ["", None, [], {}, 1.5, True, {"session_id": []}])
@pytest.mark.parametrize(
    "field", ["session_id", "session_params", "prompt_cache_key", "user", "user_id"]
)
def test_what_is_no_name_is_none_and_spoils_nothing(field: str, value: object) -> None:
    body = decode_body(json.dumps({"model": "m", "max_tokens": 5, field: value}).encode())

    assert body is not None
    assert session_of({}, body) is None
    assert body.output_bound == 5


def test_a_number_may_be_a_name() -> None:
    assert asked(user_id=42) == "42"


def test_a_name_of_any_length_takes_bounded_room() -> None:
    long, other = asked(session_id="x" * 100_000), asked(session_id="x" * 100_001)

    assert long is not None
    assert other is not None
    assert len(long) <= 256
    assert long != other
    assert long == asked(session_id="x" * 100_000)


@given(value=st.text())
def test_any_text_can_be_a_name(value: str) -> None:
    found = asked(session_id=value)

    assert found is None if not value else found is not None
