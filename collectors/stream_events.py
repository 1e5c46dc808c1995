"""The JSON of an event of a chat's stream, as far as it tells a role from output."""

from typing import Final

import msgspec


class Delta(msgspec.Struct):
    """What a choice adds; any of these but the role is output."""

    role: str | None = None
    content: object = None
    reasoning_content: object = None
    reasoning: object = None
    tool_calls: object = None


class Choice(msgspec.Struct):
    """One of the answers that come side by side."""

    delta: Delta | None = None


class Event(msgspec.Struct):
    """One event."""

    choices: list[Choice] = []


decode_event: Final = msgspec.json.Decoder(Event).decode
