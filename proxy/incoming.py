"""One client request as read: what the scheduler sees and what goes to the endpoint."""

from collections.abc import Callable
from typing import Final

from collectors.stream import StreamKind
from predictor.kv_cache import TOKEN_BYTES, TokenBlocks
from predictor.types import NO_OBJECTIVE, Objective, RequestFeatures
from predictor.values import Value
from proxy.body import Kind, decode_body, kind_of, prompt_of, with_usage
from proxy.body_fields import Body
from proxy.connection import OutgoingRequest
from proxy.headers import (
    HeaderMap,
    has_wishes,
    objective_of,
    request_lines,
    subset_of,
    text_of,
    trace_id_of,
    vllm_priority_of,
)
from proxy.http_request import RequestHead
from proxy.session import session_of

_LONGEST_MODEL: Final = 512
"""Characters, as many as a form may bring; whoever writes more is kept and logged no further."""
_STREAM_KINDS: Final[dict[Kind, StreamKind]] = {"chat": "chat", "completions": "completions"}
_EMPTY: Final = Body()
_NO_BLOCKS: Final[TokenBlocks] = {}
_NONE_DROPPED: Final[frozenset[bytes]] = frozenset()
# What lies beyond counts as this; it is passed on as it came, for the endpoint to refuse.
_MOST_PRIORITY: Final = 2**31 - 1

NameBlocks = Callable[[str, bytes, str | None], TokenBlocks]
"""Name the blocks of a prompt by model, tokens and cache salt."""


class _Wishes(Value):
    """Hold what headers say of how to serve a request."""

    tenant: str | None = None
    tier: str | None = None
    priority: int | None = None
    objective: Objective = NO_OBJECTIVE
    allowed_endpoints: frozenset[str] | None = None
    trailers: bool = False


_NO_WISHES: Final = _Wishes()


class IncomingRequest(Value):
    """Hold one request, read once.

    Attributes:
        features: What the scheduler sees.
        outgoing: What goes to the endpoint, whichever it is.
        stream_kind: How to tell tokens in its response, should that be a stream.
        hide_usage: Whether the usage event of the stream is not for the client.
        wants_trailers: Whether the client takes trailers after a response.
    """

    features: RequestFeatures
    outgoing: OutgoingRequest
    stream_kind: StreamKind
    hide_usage: bool
    wants_trailers: bool = False


def read_request(
    head: RequestHead,
    payload: bytes,
    *,
    request_id: str,
    arrived_s: float,
    include_usage: bool,
    tenant: str | None = None,
    dropped: frozenset[bytes] = _NONE_DROPPED,
    tokens: bytes | None = None,
    token_blocks: NameBlocks | None = None,
) -> IncomingRequest:
    """Read one request.

    Args:
        head: Its head.
        payload: The whole body.
        request_id: Its id, unique while it lives.
        arrived_s: When it came in.
        include_usage: Whether to ask for token counts of streams.
        tenant: Whom it is served for where no header says so.
        dropped: Headers that stay here beside those that always do, in lower case.
        tokens: Its prompt's token ids, four bytes each, where they are known.
        token_blocks: Names the blocks of these.

    Raises:
        BadRequest: A header that is read here has a value it cannot have.
        BodyTooDeep: Its JSON is nested without end.
    """
    kind = kind_of(head.path)
    body = (decode_body(payload) if payload else None) or _EMPTY
    named = head.named
    wishes = _NO_WISHES
    if has_wishes(named):
        wishes = _wishes(named)
    prompt = prompt_of(body, payload)
    blocks = _NO_BLOCKS
    if tokens is not None and token_blocks is not None:
        blocks = token_blocks(body.model, tokens, body.cache_salt)
    features = RequestFeatures(
        request_id=request_id,
        arrived_s=arrived_s,
        model=body.model[:_LONGEST_MODEL],
        prompt_bytes=prompt.size_bytes,
        prompt_tokens=prompt.tokens if tokens is None else len(tokens) // TOKEN_BYTES,
        max_tokens=body.output_bound,
        streamed=bool(body.stream),
        block_hashes=prompt.block_hashes,
        token_blocks=blocks,
        session_id=session_of(named, body),
        tenant=_tenant(tenant, wishes.tenant),
        tier=wishes.tier,
        priority=_priority(wishes.priority or body.priority),
        objective=wishes.objective,
        allowed_endpoints=wishes.allowed_endpoints,
        trace_id=trace_id_of(named),
    )
    spliced = None
    if include_usage and body.stream and kind in _STREAM_KINDS:
        spliced = with_usage(payload, body)
    return IncomingRequest(
        features=features,
        outgoing=_outgoing(head, spliced or payload, request_id, dropped),
        stream_kind=_STREAM_KINDS.get(kind, "named"),
        hide_usage=spliced is not None,
        wants_trailers=wishes.trailers,
    )


def _tenant(caller: str | None, wished: str | None) -> str | None:
    """Name whom a request is served for; nobody with a key can name another key's tenants.

    >>> _tenant("key-a", "team-1"), _tenant(None, "team-1"), _tenant("key-a", None)
    ('key-a/team-1', 'team-1', 'key-a')
    """
    return wished or caller if caller is None or wished is None else f"{caller}/{wished}"


def _wishes(named: HeaderMap) -> _Wishes:
    return _Wishes(
        tenant=text_of(named, b"x-llm-d-inference-fairness-id"),
        tier=text_of(named, b"x-slo-tier") or text_of(named, b"x-llm-d-inference-objective"),
        priority=vllm_priority_of(named),
        objective=objective_of(named),
        allowed_endpoints=subset_of(named),
        trailers=b"trailers" in named.get(b"te", b"").lower(),
    )


def _priority(wanted: int | None) -> int:
    """Give the request's priority: vLLM serves the lower number first, we the higher one."""
    return -min(max(wanted, -_MOST_PRIORITY), _MOST_PRIORITY) if wanted else 0


def _outgoing(
    head: RequestHead, payload: bytes, request_id: str, dropped: frozenset[bytes]
) -> OutgoingRequest:
    method = head.method
    bare = not payload and method in {b"GET", b"HEAD"}
    return OutgoingRequest(
        start=b"%b %b HTTP/1.1\r\n" % (method, head.target),
        header_lines=request_lines(head.lines, head.named, request_id=request_id, dropped=dropped),
        body=None if bare else payload,
        head_only=method == b"HEAD",
    )
