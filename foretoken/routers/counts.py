"""What a router counts of its connection to the others."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Literal

Fault = Literal["foreign", "other_version", "too_long", "unreadable"]
"""Why something was ignored: not of ours at all, of another form, beyond bounds, damaged."""
Failure = Literal["refused", "timeout", "deaf", "login", "error"]
"""Why the connection ended: nobody there or it broke; no answer in time; what we say is not
heard back; not let in; an answer that is an error."""

FAILURES: Final = ("refused", "timeout", "deaf", "login", "error")
FAULTS: Final = ("foreign", "other_version", "too_long", "unreadable")


@dataclass(slots=True)
class Counts:
    """Count since the start.

    Attributes:
        published: Frames sent.
        published_bytes: Of these.
        received: Frames of other routers taken in.
        received_bytes: Of these.
        dropped: Things that could not be told: nobody was connected, or too much waited.
        unresolved: Prompts told by a beginning that was not known here.
        ignored: Messages that were none of ours, by fault.
        failures: Ends of the connection, by reason.
    """

    published: int = 0
    published_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    dropped: int = 0
    unresolved: int = 0
    ignored: Counter[Fault] = field(default_factory=Counter)
    failures: Counter[Failure] = field(default_factory=Counter)
