"""What is read from a request body, and the one change that is made to it.

Only the fields named here are decoded; the bytes go out as they came in, but for
``stream_options.include_usage`` on streams whose client did not ask for it. A body
that cannot be decoded passes untouched and without features: the endpoint judges it.
"""

import re
from contextlib import suppress
from typing import Final, Literal

import msgspec

from proxy.body_fields import Body, decode, decode_model
from proxy.errors import BodyTooDeep
from proxy.prompt import Prompt, read_prompt

Kind = Literal["chat", "completions", "responses", "messages", "embeddings", "other"]

_KINDS: Final[dict[str, Kind]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/embeddings": "embeddings",
}

_FORM_MODEL: Final = re.compile(rb'name="model"\r\n\r\n([^\r\n]{1,512})\r\n')


_decode_options: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_walk: Final = msgspec.json.Decoder(msgspec.Raw).decode


def kind_of(path: str) -> Kind:
    """Tell what is asked for by the path.

    >>> kind_of("/v1/chat/completions"), kind_of("/tokenize")
    ('chat', 'other')
    """
    return _KINDS.get(path, "other")


def decode_body(payload: bytes) -> Body | None:
    """Decode what can be; ``None`` where not even the model can be told.

    Raises:
        BodyTooDeep: It is nested so deep that whoever reads it after us may fall over it.

    >>> decode_body(b'{"model": "m", "max_tokens": 5, "vendor": [1]}').output_bound
    5
    >>> decode_body(b'{"model": "m", "max_tokens": "five"}').model
    'm'
    """
    try:
        try:
            return decode(payload)
        except (msgspec.MsgspecError, ValueError):
            model = _model_alone(payload)
            return None if model is None else Body(model=model)
    except RecursionError:
        raise BodyTooDeep from None


def _model_alone(payload: bytes) -> str | None:
    try:
        return decode_model(payload).model
    except (msgspec.MsgspecError, ValueError):
        _check_depth(payload)
        form = _FORM_MODEL.search(payload, 0, 65_536)  # a multipart upload
        return None if form is None else form[1].decode("utf-8", "replace")


def _check_depth(payload: bytes) -> None:
    """Go through what was given up at its first mistake, with nothing kept of it."""
    with suppress(msgspec.MsgspecError, ValueError):
        _walk(payload)


def prompt_of(body: Body, payload: bytes) -> Prompt:
    """Read the prompt; one that is nowhere known counts by the body's size alone."""
    text = body.prompt or body.input
    if body.messages or text:
        try:
            return read_prompt(
                model=body.model,
                salt=body.cache_salt,
                tools=body.tools,
                instructions=body.system or body.instructions,
                messages=body.messages,
                text=text,
            )
        except (msgspec.MsgspecError, ValueError, RecursionError):
            pass  # the endpoint judges it
    return Prompt(size_bytes=len(payload), tokens=None, block_hashes=())


def with_usage(payload: bytes, body: Body) -> bytes | None:
    """Add ``include_usage`` to a streamed request; ``None`` where the client has it already.

    The key is appended before the last brace: of duplicate keys, the last one counts,
    so the client's own ``stream_options`` go into it.

    >>> payload = b'{"stream":true}'
    >>> with_usage(payload, decode_body(payload))
    b'{"stream":true,"stream_options":{"include_usage":true}}'
    """
    options: dict[str, msgspec.Raw] = {}
    if body.stream_options and body.stream_options != msgspec.Raw(b"null"):
        try:
            options = _decode_options(body.stream_options)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None  # not an object: the endpoint says so
    if options.get("include_usage") == msgspec.Raw(b"true"):
        return None
    merged = msgspec.json.encode({**options, "include_usage": True})
    end = payload.rindex(b"}")
    return b'%b,"stream_options":%b%b' % (payload[:end], merged, payload[end:])
