"""Faults of one endpoint in real time, asked for over its HTTP face.

``POST /sim/fault?kind=...`` begins one; vLLM has no such path. What the kinds do to an
engine is the engine's business, in virtual time too; this decides how a fault is asked
for and when it is over. Called by the HTTP face.

| kind | takes | what happens |
|---|---|---|
| ``slow_down`` | ``factor``, ``seconds`` (for good without) | steps take ``factor`` times as long |
| ``hang`` | ``seconds`` | no token comes; connections stay open, ``/health`` answers |
| ``crash`` | ``seconds`` | all requests and the cache are lost; until it is back all is 503 |
| ``flush`` | | every cached block that no request holds is forgotten |
"""

import asyncio
from typing import Annotated
from urllib.parse import parse_qsl

import msgspec

from simulator.driver import Driver
from simulator.errors import RequestRefused
from simulator.metrics import EndpointMetrics

Positive = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Asked(msgspec.Struct, tag_field="kind", forbid_unknown_fields=True):
    """A fault as asked for."""


class SlowDown(Asked, tag="slow_down"):
    """Steps take ``factor`` times as long, for a time or for good."""

    factor: Positive
    seconds: Positive | None = None


class Hang(Asked, tag="hang"):
    """The engine stands still for a time."""

    seconds: Positive


class Crash(Asked, tag="crash"):
    """The endpoint dies and comes back after a time."""

    seconds: Positive


class Flush(Asked, tag="flush"):
    """The prefix cache is emptied."""


AnyFault = SlowDown | Hang | Crash | Flush


def read_fault(query: str) -> AnyFault:
    """Read a fault from a query string.

    Raises:
        RequestRefused: It is unknown, or a value is missing, unknown or out of bounds.

    >>> read_fault("kind=hang&seconds=2.5")
    Hang(seconds=2.5)
    """
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if "kind" not in fields:
        kinds = "slow_down, hang, crash, flush"
        raise RequestRefused(f"kind is required, one of: {kinds}", param="kind")
    try:
        fault: AnyFault = msgspec.convert(fields, type=AnyFault, strict=False)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"fault {query!r}: {error}", param="fault") from error
    return fault


class Faults:
    """Let faults begin and end on one endpoint.

    Attributes:
        down: Whether it has crashed and is not back yet.
    """

    def __init__(self, driver: Driver, metrics: EndpointMetrics) -> None:
        self.down = False
        self._driver = driver
        self._metrics = metrics
        self._ends: dict[type[Asked], asyncio.TimerHandle] = {}

    def begin(self, fault: AnyFault) -> None:
        """Let a fault begin; one of a kind under way is replaced."""
        under_way = self._ends.pop(type(fault), None)
        if under_way is not None:
            under_way.cancel()
        match fault:
            case SlowDown(factor=factor):
                self._driver.slow_down(factor)
            case Hang(seconds=seconds):
                self._driver.hang(seconds)
            case Crash():
                self.down = True
                self._driver.crash()
                self._metrics.reset()
            case Flush():
                self._driver.flush()
        if isinstance(fault, SlowDown | Crash) and fault.seconds is not None:
            loop = asyncio.get_running_loop()
            self._ends[type(fault)] = loop.call_later(fault.seconds, self._end, fault)

    def _end(self, fault: SlowDown | Crash) -> None:
        del self._ends[type(fault)]
        if isinstance(fault, SlowDown):
            self._driver.slow_down(1.0)
        else:
            self.down = False
