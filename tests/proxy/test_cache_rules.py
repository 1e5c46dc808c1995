"""Which requests may be answered from the cache, and which are equal."""

import json

import pytest

from predictor.types import EndpointState, RequestFeatures
from proxy.cache_rules import cache_key, serving, wants_cache
from proxy.errors import BadHeader
from proxy.settings import ResponseCacheSettings

CHAT = "/v1/chat/completions"
OFF, HEADER, ALWAYS = (
    ResponseCacheSettings(mode="off"),
    ResponseCacheSettings(mode="header"),
    ResponseCacheSettings(mode="deterministic"),
)
ZERO = json.dumps({"model": "m", "temperature": 0}).encode()
WARM = json.dumps({"model": "m", "temperature": 0.7, "seed": 7}).encode()
PLAIN = json.dumps({"model": "m"}).encode()


@pytest.mark.parametrize(
    ("settings", "payload", "asked", "wanted"),
    [
        (OFF, ZERO, None, False),
        (OFF, ZERO, b"on", False),
        (HEADER, ZERO, None, False),
        (HEADER, ZERO, b"on", True),
        (HEADER, WARM, b"On", True),
        (ALWAYS, ZERO, None, True),
        (ALWAYS, ZERO, b"off", False),
        (ALWAYS, WARM, None, False),
        (ALWAYS, PLAIN, None, False),
        (ALWAYS, b"not JSON", None, False),
        (ALWAYS, b'{"temperature": "0"}', None, False),
        (ALWAYS, b'{"temperature": 0.0}', None, True),
    ],
)
def test_it_is_asked_for_by_configuration_or_header(
    settings: ResponseCacheSettings, payload: bytes, asked: bytes | None, wanted: bool
) -> None:
    headers = {} if asked is None else {b"x-foretoken-cache": asked}

    assert wants_cache(settings, b"POST", CHAT, payload, headers) is wanted


@pytest.mark.parametrize(
    ("method", "path", "wanted"),
    [
        (b"POST", "/v1/embeddings", True),
        (b"POST", "/rerank", True),
        (b"POST", "/v1/messages", True),
        (b"POST", "/v1/responses", False),
        (b"POST", "/v1/audio/transcriptions", False),
        (b"GET", CHAT, False),
    ],
)
def test_only_what_keeps_no_state_is_answered_so(method: bytes, path: str, wanted: bool) -> None:
    assert wants_cache(ALWAYS, method, path, ZERO, {}) is wanted


@pytest.mark.parametrize("mode", ["off", "header", "deterministic"])
def test_another_word_in_the_header_is_refused_where_it_is_read(mode: str) -> None:
    settings = ResponseCacheSettings.model_validate({"mode": mode})

    with pytest.raises(BadHeader, match="on or off"):
        wants_cache(settings, b"POST", CHAT, ZERO, {b"x-foretoken-cache": b"yes"})


def key(
    *,
    target: bytes = CHAT.encode(),
    payload: bytes = ZERO,
    shown: bool = True,
    tenant: str | None = None,
    version: str | None = "1",
) -> bytes:
    state = EndpointState(endpoint="a:1", url="", model="m", up=True, root="/m", version=version)
    request = RequestFeatures(request_id="r", arrived_s=0.0, model="m", tenant=tenant)
    return cache_key(
        target=target,
        payload=payload,
        shown=shown,
        request=request,
        serving=serving("m", [state]),
    )


def test_equal_requests_have_one_key_and_others_have_another() -> None:
    others = [
        key(target=b"/v1/completions"),
        key(target=CHAT.encode() + b"?a=1"),
        key(shown=False),
        key(payload=ZERO + b" "),
        key(tenant="a"),
        key(tenant="b"),
        key(version="2"),
        key(version=None),
    ]

    assert key() == key()
    assert len({key(), *others}) == 1 + len(others)


def test_parts_of_a_key_do_not_run_into_each_other() -> None:
    assert key(tenant='a","m') != key(tenant="a")
    assert key(payload=b"") != key(target=CHAT.encode() + b"\0", payload=b"")


def test_a_rolling_model_is_several_until_it_is_one() -> None:
    old = EndpointState(endpoint="a:1", url="", model="m", up=True, root="/m", version="1")
    new = EndpointState(endpoint="b:1", url="", model="m", up=True, root="/m2", version="1")
    gone = EndpointState(endpoint="c:1", url="", model="m", up=False, root="/m0", version="0")
    other = EndpointState(endpoint="d:1", url="", model="n", up=True, adapters=("l",))

    assert serving("m", [old, new, gone, other]) == {("m", "/m", "1"), ("m", "/m2", "1")}
    assert serving("l", [old, other]) == {("n", None, None)}
