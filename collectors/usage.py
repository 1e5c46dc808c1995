"""Read what an endpoint says about a finished request: token counts and its own times.

Decides which spelling of ``usage`` and ``metrics`` means what: OpenAI's
``completion_tokens`` and the responses API's ``output_tokens`` end here. Called by the
stream observer for the last events of a stream and by the proxy for whole bodies.
Source: vLLM 0.32 ``--enable-per-request-metrics``, ``--enable-prompt-tokens-details``.
"""

from typing import Annotated, Final

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
_Millis = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hold what one response said about itself; ``None`` is unknown.

    Attributes:
        prompt_tokens: Length of the prompt.
        cached_tokens: Of these, found in the prefix cache.
        output_tokens: Tokens generated.
        queue_s: Waited at the endpoint before it was scheduled.
        prefill_s: From being scheduled to the first token, waiting excluded.
        itl_s: Mean gap between output tokens, by the endpoint's own clock.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    queue_s: float | None = None
    prefill_s: float | None = None
    itl_s: float | None = None

    @property
    def ttft_s(self) -> float | None:
        """Give the endpoint's own time to first token, its queue included."""
        if self.queue_s is None or self.prefill_s is None:
            return None
        return self.queue_s + self.prefill_s


UNKNOWN_USAGE: Final = Usage()


class _Details(msgspec.Struct):
    cached_tokens: _Count | None = None


class _Counts(msgspec.Struct):
    prompt_tokens: _Count | None = None
    input_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    output_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens_details: _Details | None = None


class _Times(msgspec.Struct):
    time_to_first_token_ms: _Millis | None = None
    queue_time_ms: _Millis | None = None
    mean_itl_ms: _Millis | None = None


class _Inner(msgspec.Struct):
    usage: _Counts | None = None
    metrics: _Times | None = None


class _Body(_Inner):
    response: _Inner | None = None  # where response.completed keeps the whole response


_NO_COUNTS: Final = _Counts()
_NO_TIMES: Final = _Times()
_decode: Final = msgspec.json.Decoder(_Body).decode


def read_usage(body: bytes) -> Usage:
    """Read a complete JSON body, or the JSON of one event; never raises.

    >>> read_usage(b'{"usage":{"prompt_tokens":9,"completion_tokens":2}}').output_tokens
    2
    >>> read_usage(b"not JSON") == UNKNOWN_USAGE
    True
    """
    try:
        outer = _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return UNKNOWN_USAGE
    inner = outer if outer.response is None else outer.response
    counts, times = inner.usage or _NO_COUNTS, inner.metrics or _NO_TIMES
    details = counts.prompt_tokens_details or counts.input_tokens_details
    return Usage(
        prompt_tokens=_first(counts.prompt_tokens, counts.input_tokens),
        cached_tokens=None if details is None else details.cached_tokens,
        output_tokens=_first(counts.completion_tokens, counts.output_tokens),
        queue_s=_seconds(times.queue_time_ms),
        prefill_s=_seconds(times.time_to_first_token_ms),
        itl_s=_seconds(times.mean_itl_ms),
    )


def _first(one: int | None, other: int | None) -> int | None:
    return other if one is None else one


def _seconds(millis: float | None) -> float | None:
    return None if millis is None else millis / 1e3
