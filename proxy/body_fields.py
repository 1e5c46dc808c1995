"""The fields of a JSON body that placing a request depends on, and how they are decoded.

Called by :mod:`proxy.body`, which says what becomes of what cannot be decoded.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

_NOTHING: Final = msgspec.Raw()
_MOST_TOKENS: Final = 1 << 53  # counts beyond have no exact float


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


class ModelOnly(msgspec.Struct):
    """The least that a body tells."""

    model: str = ""


decode: Final = msgspec.json.Decoder(Body).decode
decode_model: Final = msgspec.json.Decoder(ModelOnly).decode
_decode_name: Final = msgspec.json.Decoder(str | int).decode
_decode_session_params: Final = msgspec.json.Decoder(_SessionParams).decode


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
