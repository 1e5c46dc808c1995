"""Read what an endpoint says about a finished request: token counts and its own times.

Decides which spelling of ``usage`` and ``metrics`` means what: OpenAI's
``completion_tokens`` and the responses API's ``output_tokens`` end here. Called by the
stream observer for the last events of a stream and by the proxy for whole bodies.
Source: vLLM 0.32 ``--enable-per-request-metrics``, ``--enable-prompt-tokens-details``.
"""

from typing import Final

import msgspec

from collectors.usage_fields import Counts, Times, decode_usage
from predictor.values import Value


class Usage(Value):
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


_NO_COUNTS: Final = Counts()
_NO_TIMES: Final = Times()


def read_usage(body: bytes) -> Usage:
    """Read a complete JSON body, or the JSON of one event; never raises.

    >>> read_usage(b'{"usage":{"prompt_tokens":9,"completion_tokens":2}}').output_tokens
    2
    >>> read_usage(b"not JSON") == UNKNOWN_USAGE
    True
    """
    try:
        outer = decode_usage(body)
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
