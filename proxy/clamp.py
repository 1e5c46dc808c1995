"""What to do with more output tokens asked for than the model's context has room for.

vLLM refuses such a request; people ask for clamping (and for an early refusal). The prompt's
tokens are exact only where a tokenizer or an endpoint counted them; an estimate is widened
by a margin, to the side on which a mistake is harmless: for clamping upwards, so that what
is left surely fits; for refusing downwards, so that nobody is refused who would be served.
Only the number is replaced in the body, everything else stays byte for byte. Called by the
relay for requests whose bound is worth looking at; pure.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

from predictor.values import Value
from proxy.errors import ContextExceeded
from proxy.settings import ContextSettings

FIELDS: Final = (b"max_tokens", b"max_completion_tokens", b"max_output_tokens")
"""What clients bound output by: completions and chats, chats, responses."""

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_VALUE: Final = re.compile(rb"\s*:\s*(\d+)(?=\s*[,}])")


class Room(Value):
    """Say how long prompt and output may be together.

    Attributes:
        least_tokens: What every endpoint of the model allows.
        most_tokens: What some endpoint allows.
    """

    least_tokens: int
    most_tokens: int


def fitting(
    *,
    asked: int,
    prompt_tokens: int,
    exact: bool,
    room: Room,
    settings: ContextSettings,
) -> int | None:
    """Give the bound to ask for instead, ``None`` to ask for the client's own.

    Args:
        asked: The client's bound on output tokens.
        prompt_tokens: Of the prompt, counted or estimated.
        exact: Whether they were counted.
        room: How much there is for both.
        settings: What to do.

    Raises:
        ContextExceeded: It is to be refused.

    >>> fitting(asked=900, prompt_tokens=200, exact=True,
    ...     room=Room(least_tokens=1000, most_tokens=1000),
    ...     settings=ContextSettings(excess="clamp"))
    800
    """
    if settings.excess == "pass":
        return None
    if settings.excess == "refuse":
        least = prompt_tokens if exact else _fewer(prompt_tokens, settings)
        if asked + least > room.most_tokens:
            raise ContextExceeded(asked, least, room.most_tokens, exact=exact)
        return None
    most = prompt_tokens if exact else _more(prompt_tokens, settings)
    left = room.least_tokens - most
    if left < 1 or asked <= left:  # a prompt that leaves nothing is the endpoint's to refuse
        return None
    return left


def with_bound(payload: bytes, tokens: int) -> bytes | None:
    """Replace every bound above ``tokens`` by it; ``None`` where there is none.

    >>> with_bound(b'{"prompt": "max_tokens: 9", "max_tokens" : 9, "n": 1}', 5)
    b'{"prompt": "max_tokens: 9", "max_tokens" : 5, "n": 1}'
    """
    pieces: list[bytes] = []
    end = 0
    for start, stop in _bounds(payload):
        if int(payload[start:stop]) > tokens:
            pieces += (payload[end:start], b"%d" % tokens)
            end = stop
    return b"".join((*pieces, payload[end:])) if pieces else None


def _bounds(payload: bytes) -> Iterator[tuple[int, int]]:
    """Give where the numbers of the fields stand that belong to the outermost object."""
    depth = 0
    for token in _TOKEN.finditer(payload):
        first = payload[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token[0][1:-1] in FIELDS:
            value = _VALUE.match(payload, token.end())
            if value is not None:
                yield value.start(1), value.end(1)


def _more(tokens: int, settings: ContextSettings) -> int:
    return tokens + math.ceil(tokens * settings.margin_ratio) + settings.margin_tokens


def _fewer(tokens: int, settings: ContextSettings) -> int:
    return max(1, tokens - math.ceil(tokens * settings.margin_ratio) - settings.margin_tokens)
