"""The JSON that token counts and times of a response come in."""

from typing import Annotated, Final

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Millis = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Details(msgspec.Struct):
    """What of a prompt is counted apart."""

    cached_tokens: _Count | None = None


class Counts(msgspec.Struct):
    """Token counts, by either API's names."""

    prompt_tokens: _Count | None = None
    input_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    output_tokens: _Count | None = None
    prompt_tokens_details: Details | None = None
    input_tokens_details: Details | None = None


class Times(msgspec.Struct):
    """An endpoint's own times."""

    time_to_first_token_ms: _Millis | None = None
    queue_time_ms: _Millis | None = None
    mean_itl_ms: _Millis | None = None


class Inner(msgspec.Struct):
    """A response."""

    usage: Counts | None = None
    metrics: Times | None = None


class Body(Inner):
    """A whole body, or an event."""

    response: Inner | None = None  # where response.completed keeps the whole response


decode_usage: Final = msgspec.json.Decoder(Body).decode
