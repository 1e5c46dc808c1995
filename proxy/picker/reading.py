"""An HTTP request of Envoy's, read as the proxy reads its own.

The one place where what Envoy told becomes what :func:`proxy.incoming.read_request` takes.
"""

from typing import Final
from urllib.parse import unquote

from predictor.values import replace
from proxy.headers import HeaderMap, RawHeaders, text_of
from proxy.http_request import RequestHead
from proxy.incoming import IncomingRequest, NameBlocks, read_request
from proxy.trace_context import Tracer

_MODEL: Final = b"x-gateway-model-name"  # set by a gateway's body-based router


def read(
    headers: RawHeaders,
    body: bytes,
    *,
    request_id: str,
    arrived_s: float,
    include_usage: bool,
    tokens: bytes | None = None,
    token_blocks: NameBlocks | None = None,
    tracer: Tracer | None = None,
) -> IncomingRequest:
    """Read a request.

    Args:
        headers: As Envoy gave them, its pseudo headers among them.
        body: All that is known of the body; empty where it passes unseen.
        request_id: Its id, unique while it lives.
        arrived_s: When it came in.
        include_usage: Whether to ask for token counts of streams.
        tokens: Its prompt's token ids, four bytes each, where they are known.
        token_blocks: Names the blocks of these.
        tracer: Gives it a place in a trace, ``None`` where none are made.

    Raises:
        BadRequest: A header that is read here has a value it cannot have.
    """
    named = dict(headers)
    target = named.get(b":path", b"/")
    head = RequestHead(
        method=named.get(b":method", b"POST"),
        target=target,
        path=unquote(target.partition(b"?")[0].decode("latin-1")),
        lines=[header for header in headers if not header[0].startswith(b":")],
        named=named,
    )
    incoming = read_request(
        head,
        body,
        request_id=request_id,
        arrived_s=arrived_s,
        include_usage=include_usage,
        tokens=tokens,
        token_blocks=token_blocks,
    )
    if tracer is not None:
        incoming = tracer.trace(incoming, head)
    return incoming if body else _unseen(incoming, named)


def _unseen(incoming: IncomingRequest, named: HeaderMap) -> IncomingRequest:
    """Take what headers tell of a body that passes unseen: its length and its model."""
    length = named.get(b"content-length", b"")
    features = replace(
        incoming.features,
        prompt_bytes=int(length) if length.isdigit() else incoming.features.prompt_bytes,
        model=text_of(named, _MODEL) or incoming.features.model,
    )
    return replace(incoming, features=features)
