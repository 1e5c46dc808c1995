"""One client request as read: what the scheduler sees and what goes to the endpoint."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace
from starlette.types import Scope

from collectors.stream import StreamKind
from predictor.kv_cache import TOKEN_BYTES, TokenBlocks
from predictor.types import RequestFeatures
from proxy.body import Body, Kind, decode_body, kind_of, prompt_of, with_usage
from proxy.connection import OutgoingRequest
from proxy.headers import (
    HeaderMap,
    objective_of,
    request_lines,
    subset_of,
    text_of,
    vllm_priority_of,
)
from proxy.session import session_of

_STREAM_KINDS: Final[dict[Kind, StreamKind]] = {"chat": "chat", "completions": "completions"}
_EMPTY: Final = Body()
# What lies beyond counts as this; it is passed on as it came, for the endpoint to refuse.
_MOST_PRIORITY: Final = 2**31 - 1

NameBlocks = Callable[[str, bytes, str | None], TokenBlocks]
"""Name the blocks of a prompt by model, tokens and cache salt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingRequest:
    """Hold one request, read once.

    Attributes:
        features: What the scheduler sees.
        outgoing: What goes to the endpoint, whichever it is.
        stream_kind: How to tell tokens in its response, should that be a stream.
        hide_usage: Whether the usage event of the stream is not for the client.
    """

    features: RequestFeatures
    outgoing: OutgoingRequest
    stream_kind: StreamKind
    hide_usage: bool


def read_request(
    scope: Scope,
    payload: bytes,
    *,
    headers: HeaderMap,
    request_id: str,
    arrived_s: float,
    include_usage: bool,
    tokens: bytes | None = None,
    token_blocks: NameBlocks | None = None,
) -> IncomingRequest:
    """Read one request.

    Args:
        scope: ASGI scope.
        payload: The whole body.
        headers: The scope's headers by name.
        request_id: Its id, unique while it lives.
        arrived_s: When it came in.
        include_usage: Whether to ask for token counts of streams.
        tokens: Its prompt's token ids, four bytes each, where they are known.
        token_blocks: Names the blocks of these.

    Raises:
        BadRequest: A header that is read here has a value it cannot have.
    """
    kind = kind_of(scope["path"])
    body = (decode_body(payload) if payload else None) or _EMPTY
    features = _features(body, payload, headers, request_id, arrived_s)
    if tokens is not None and token_blocks is not None:
        features = replace(
            features,
            prompt_tokens=len(tokens) // TOKEN_BYTES,
            token_blocks=token_blocks(body.model, tokens, body.cache_salt),
        )
    spliced = None
    if include_usage and body.stream and kind in _STREAM_KINDS:
        spliced = with_usage(payload, body)
    return IncomingRequest(
        features=features,
        outgoing=_outgoing(scope, spliced or payload, headers, request_id),
        stream_kind=_STREAM_KINDS.get(kind, "named"),
        hide_usage=spliced is not None,
    )


def _features(
    body: Body, payload: bytes, headers: HeaderMap, request_id: str, arrived_s: float
) -> RequestFeatures:
    prompt = prompt_of(body, payload)
    return RequestFeatures(
        request_id=request_id,
        arrived_s=arrived_s,
        model=body.model,
        prompt_bytes=prompt.size_bytes,
        prompt_tokens=prompt.tokens,
        max_tokens=body.output_bound,
        streamed=bool(body.stream),
        block_hashes=prompt.block_hashes,
        session_id=session_of(headers, body),
        tenant=text_of(headers, b"x-llm-d-inference-fairness-id"),
        tier=text_of(headers, b"x-slo-tier") or text_of(headers, b"x-llm-d-inference-objective"),
        priority=_priority(body, headers),
        objective=objective_of(headers),
        allowed_endpoints=subset_of(headers),
    )


def _priority(body: Body, headers: HeaderMap) -> int:
    """Give the request's priority: vLLM serves the lower number first, we the higher one."""
    priority = vllm_priority_of(headers) or body.priority or 0
    return -min(max(priority, -_MOST_PRIORITY), _MOST_PRIORITY)


def _outgoing(scope: Scope, payload: bytes, headers: HeaderMap, request_id: str) -> OutgoingRequest:
    method: str = scope["method"]
    target: bytes = scope["raw_path"]
    if scope["query_string"]:
        target = b"%b?%b" % (target, scope["query_string"])
    lines = request_lines(scope["headers"], headers, request_id=request_id)
    length = (
        b""
        if not payload and method in {"GET", "HEAD"}
        else b"content-length: %d\r\n" % len(payload)
    )
    return OutgoingRequest(
        start=b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target),
        header_lines=b"%b%b\r\n" % (lines, length),
        body=payload,
        head_only=method == "HEAD",
    )
