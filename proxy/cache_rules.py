"""Which requests may be answered by what an equal one got, and what makes two equal.

Equal are requests of the same path and query, byte for byte the same body, by the same
tenant (its cache salt is in the body), to endpoints that serve the model from the same place
with the same software: an answer never outlives a rolled model, and nobody learns from an
answer's speed what another tenant asked. Streamed and other answers differ in their bodies'
``stream`` and are kept apart. Called by the relay.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

from predictor.types import EndpointState, RequestFeatures
from proxy.errors import BadHeader
from proxy.headers import HeaderMap
from proxy.settings import ResponseCacheSettings

HEADER: Final = b"x-foretoken-cache"
"""Asks for the cache (``on``, ``off``) and says what became of that (``hit``, ``miss``,
``coalesced``)."""

# Paths that sample tokens: their answers are the same again at temperature 0 only.
_SAMPLED: Final = frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages"})
# Paths that compute one thing from their input. /v1/responses keeps state: never.
_COMPUTED: Final = frozenset(
    {
        *("/v1/embeddings", "/pooling", "/classify", "/score", "/v1/score"),
        *("/rerank", "/v1/rerank", "/v2/rerank"),
    }
)


class _Sampling(msgspec.Struct):
    temperature: float | None = None


_decode: Final = msgspec.json.Decoder(_Sampling).decode


def wants_cache(
    settings: ResponseCacheSettings, method: bytes, path: str, payload: bytes, headers: HeaderMap
) -> bool:
    """Say whether a request may be answered from the cache, and its answer be kept.

    A fixed ``seed`` is not enough without the header: vLLM's answers to it still change
    with what else is in the batch, and who sets one may count on fresh samples elsewhere.

    Raises:
        BadHeader: The header is neither ``on`` nor ``off``.
    """
    asked = headers.get(HEADER)
    if asked is None and settings.mode != "deterministic":
        return False
    wanted = _wanted(asked)
    if settings.mode == "off" or wanted is False or method != b"POST":
        return False
    if path in _COMPUTED:
        return True
    if path not in _SAMPLED:
        return False
    return wanted is True or _temperature(payload) == 0.0


def cache_key(
    *,
    target: bytes,
    payload: bytes,
    shown: bool,
    request: RequestFeatures,
    serving: Iterable[tuple[str | None, ...]],
) -> bytes:
    """Name what is asked for, 32 bytes.

    Args:
        target: Path and query.
        payload: The body as it goes to the endpoint.
        shown: Whether all the endpoint says is for the client: two bodies that only differ
            in asking for usage are the same once it has been asked for on our own account.
        request: Says by whom.
        serving: What :func:`serving` gives.
    """
    hashed = hashlib.sha256()
    identity = sorted([part or "" for part in one] for one in serving)
    who = [request.tenant or "", request.model, shown]
    # Written as JSON, so that no two different lists look alike.
    hashed.update(msgspec.json.encode([target.decode("latin-1"), who, identity]))
    hashed.update(b"\0")
    hashed.update(payload)
    return hashed.digest()


def serving(model: str, states: Iterable[EndpointState]) -> frozenset[tuple[str | None, ...]]:
    """Say what answers to a model's name: base model, its place and software, for each kind.

    >>> one = EndpointState(endpoint="a:1", url="", model="m", up=True, root="/m", version="1")
    >>> sorted(serving("m", [one]))
    [('m', '/m', '1')]
    """
    return frozenset(
        (state.model, state.root, state.version)
        for state in states
        if state.up and model in {state.model, *state.adapters, ""}
    )


def _wanted(asked: bytes | None) -> bool | None:
    if asked is None:
        return None
    value = asked.strip().lower()
    if value not in {b"on", b"off"}:
        raise BadHeader(HEADER.decode(), asked.decode("latin-1"), "on or off")
    return value == b"on"


def _temperature(payload: bytes) -> float | None:
    try:
        return _decode(payload).temperature
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
