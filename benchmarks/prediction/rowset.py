"""One recorded set as events in time order: requests are sent, labels come in.

Decides what a player sees and when: a :class:`Dispatch` is to be predicted with what was
learned until then, a :class:`Label` is what may be learned from that moment on. Readers
(:mod:`h200 <benchmarks.prediction.h200>`, :mod:`b200 <benchmarks.prediction.b200>`) make
them; the features of a request never hold anything measured after it was sent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from foretoken.errors import ForetokenError
from predictor.types import FloatArray, Observation

DEFAULT_DATA: Final = Path(__file__).parents[3] / "shared" / "data"

Target = Literal["ttft", "tpot"]
TARGETS: Final[tuple[Target, ...]] = ("ttft", "tpot")
ROW_BY_ROW: Final = "row by row"
DELAYED: Final = "label delay"
EARLY: Final = "early TPOT"
FLEET: Final = "recorded"


class RowsUnreadable(ForetokenError):
    """Say that a recorded file has not the layout its reader expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Hold what is known of a request when it is sent.

    Attributes:
        endpoint: Where it was sent.
        hardware: Label of that endpoint, ``None`` for none.
        features: ``(n_features,)`` row of ``features.FEATURES``.
        reference_row: ``(13,)`` row of ``llmd_rows.TTFT_COLUMNS``: what llm-d's router
            would have sent its predictor.
    """

    endpoint: str
    hardware: str | None
    features: FloatArray
    reference_row: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A request is sent: predict it.

    Attributes:
        at_s: When.
        request: Index of the request in its set.
    """

    at_s: float
    request: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label is complete: learn it.

    Attributes:
        at_s: When it is known.
        request: Index of the request in its set.
        target: What was measured.
        seconds: How long it took.
        output_tokens: Tokens a TPOT label is the mean of, ``None`` where unknown.
        seen: Waiting requests and KV usage the endpoint last showed: what llm-d files a
            TPOT row under. ``None`` leaves those of dispatch.
    """

    at_s: float
    request: int
    target: Target
    seconds: float
    output_tokens: int | None = None
    seen: tuple[float, float] | None = None


Event = Dispatch | Label


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSet:
    """Hold one recorded set in one order of events.

    Attributes:
        name: Of the set.
        order: How labels arrive: ``ROW_BY_ROW``, at once, ``DELAYED``, when they were
            complete, or ``EARLY``, TPOT seconds after the first token.
        requests: All requests, as they were sent.
        events: Dispatches and labels in time order; every label follows its dispatch.
    """

    name: str
    order: str
    requests: Sequence[Request]
    events: Sequence[Event]

    def observation(self, label: Label) -> Observation:
        """Pair a label with the features of its request."""
        request = self.requests[label.request]
        return Observation(
            endpoint=request.endpoint,
            model=FLEET,
            hardware=request.hardware,
            observed_s=label.at_s,
            features=request.features,
            upstream_ttft_s=label.seconds if label.target == "ttft" else None,
            tpot_s=label.seconds if label.target == "tpot" else None,
            output_tokens=label.output_tokens,
        )

    def first_requests(self, count: int) -> "RowSet":
        """Cut to the events of the first ``count`` requests."""
        return replace(
            self,
            requests=self.requests[:count],
            events=[event for event in self.events if event.request < count],
        )


def in_order(events: Iterable[Event]) -> tuple[Event, ...]:
    """Sort by time; at the same moment labels come before dispatches of other requests.

    A label never precedes its own dispatch: a request answered in no time is still sent
    first.

    >>> sent, known = Dispatch(at_s=1.0, request=0), Label(
    ...     at_s=1.0, request=0, target="ttft", seconds=0.1)
    >>> [type(event).__name__ for event in in_order([known, sent])]
    ['Dispatch', 'Label']
    """
    ordered = sorted(events, key=lambda event: event.at_s)
    sent: set[int] = set()
    held: dict[int, list[Event]] = {}
    result: list[Event] = []
    for event in ordered:
        if isinstance(event, Dispatch):
            result.append(event)
            sent.add(event.request)
            result.extend(held.pop(event.request, ()))
        elif event.request in sent:
            result.append(event)
        else:
            held.setdefault(event.request, []).append(event)
    return tuple(result)
