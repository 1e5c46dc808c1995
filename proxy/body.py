"""What is read from a request body, and the one change that is made to it.

Only the fields named here are decoded; the bytes go out as they came in, but for
``stream_options.include_usage`` on streams whose client did not ask for it. A body
that cannot be decoded passes untouched and without features: the endpoint judges it.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from proxy.prompt import Prompt, read_prompt

Kind = Literal["chat", "completions", "responses", "messages", "embeddings", "other"]

_KINDS: Final[dict[str, Kind]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
    "/v1/embeddings": "embeddings",
}

_NOTHING: Final = msgspec.Raw()
_MOST_TOKENS: Final = 1 << 53  # counts beyond have no exact float
_FORM_MODEL: Final = re.compile(rb'name="model"\r\n\r\n([^\r\n]{1,512})\r\n')


class Body(msgspec.Struct, frozen=True):
    """The fields of a JSON body that placing the request depends on, by their own names."""

    model: str = ""
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None
    tools: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING
    instructions: msgspec.Raw = _NOTHING
    messages: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    # Raw, because clients put numbers and objects where a name belongs.
    user: msgspec.Raw = _NOTHING
    user_id: msgspec.Raw = _NOTHING
    session_id: msgspec.Raw = _NOTHING
    session_params: msgspec.Raw = _NOTHING
    prompt_cache_key: msgspec.Raw = _NOTHING
    cache_salt: str | None = None
    priority: int | None = None
    stream_options: msgspec.Raw = _NOTHING

    @property
    def output_bound(self) -> int | None:
        """Give the client's own bound on output tokens, whichever name it used.

        ``None`` also where it is no possible count: the endpoint refuses that.
        """
        for bound in (self.max_completion_tokens, self.max_tokens, self.max_output_tokens):
            if bound is not None:
                return bound if 0 <= bound <= _MOST_TOKENS else None
        return None

    @property
    def names_anyone(self) -> bool:
        """Tell whether it may name a conversation or a person at all."""
        return bool(
            self.session_id
            or self.session_params
            or self.prompt_cache_key
            or self.user
            or self.user_id
        )

    @property
    def conversation(self) -> Iterator[str | None]:
        """Give the names of the conversation, the most particular first."""
        yield _name(self.session_id)
        yield _session_param(self.session_params)
        yield _name(self.prompt_cache_key)

    @property
    def person(self) -> Iterator[str | None]:
        """Give the names of whoever asks."""
        yield _name(self.user)
        yield _name(self.user_id)


class _SessionParams(msgspec.Struct):
    session_id: msgspec.Raw = _NOTHING


class _ModelOnly(msgspec.Struct):
    model: str = ""


_decode: Final = msgspec.json.Decoder(Body).decode
_decode_model: Final = msgspec.json.Decoder(_ModelOnly).decode
_decode_name: Final = msgspec.json.Decoder(str | int).decode
_decode_session_params: Final = msgspec.json.Decoder(_SessionParams).decode
_decode_options: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def kind_of(path: str) -> Kind:
    """Tell what is asked for by the path.

    >>> kind_of("/v1/chat/completions"), kind_of("/tokenize")
    ('chat', 'other')
    """
    return _KINDS.get(path, "other")


def decode_body(payload: bytes) -> Body | None:
    """Decode what can be; ``None`` where not even the model can be told.

    >>> decode_body(b'{"model": "m", "max_tokens": 5, "vendor": [1]}').output_bound
    5
    >>> decode_body(b'{"model": "m", "max_tokens": "five"}').model
    'm'
    """
    try:
        return _decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        model = _model_alone(payload)
        return None if model is None else Body(model=model)


def _name(raw: msgspec.Raw) -> str | None:
    """Read a name that may be a number; anything else is none."""
    if not raw:
        return None
    try:
        return str(_decode_name(raw))
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _session_param(raw: msgspec.Raw) -> str | None:
    if not raw:
        return None
    try:
        return _name(_decode_session_params(raw).session_id)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _model_alone(payload: bytes) -> str | None:
    try:
        return _decode_model(payload).model
    except (msgspec.MsgspecError, ValueError, RecursionError):
        form = _FORM_MODEL.search(payload, 0, 65_536)  # a multipart upload
        return None if form is None else form[1].decode("utf-8", "replace")


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
