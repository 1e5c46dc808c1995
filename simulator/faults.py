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
| ``refuse`` | ``seconds``, ``share`` (all without) | inference is answered 503; the rest works |
| ``reset`` | ``seconds``, ``share`` | connections are reset in the middle of a response's body |
| ``page`` | ``how``, ``seconds`` | metrics are ``gone`` (404), ``garbage``, or ``slow`` (10 s) |
| ``lose_events`` | ``seconds``, ``replayed`` (true) | KV events are not sent |
"""

import asyncio
from random import Random
from typing import Annotated, Final, Literal
from urllib.parse import parse_qsl

import msgspec

from simulator.driver import Driver
from simulator.errors import RequestRefused
from simulator.kv_events import KvEventPublisher
from simulator.metrics import EndpointMetrics

Positive = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]

SLOW_PAGE_S: Final = 10.0
_KINDS: Final = "slow_down, hang, crash, flush, refuse, reset, page, lose_events"
GARBAGE: Final = bytes(range(128, 256)) * 64 + b'\nvllm:num_requests_running{model_name="x\n'


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


class Refuse(Asked, tag="refuse"):
    """A share of inference requests is answered 503."""

    seconds: Positive
    share: Share = 1.0


class Reset(Asked, tag="reset"):
    """A share of responses is broken off in the middle of the body, with a TCP reset."""

    seconds: Positive
    share: Share = 1.0


class Page(Asked, tag="page"):
    """The page of metrics is not what it should be."""

    how: Literal["gone", "garbage", "slow"]
    seconds: Positive


class LoseEvents(Asked, tag="lose_events"):
    """KV events are lost on their way; ``replayed`` says whether they can be asked for again."""

    seconds: Positive
    replayed: bool = True


AnyFault = SlowDown | Hang | Crash | Flush | Refuse | Reset | Page | LoseEvents


def read_fault(query: str) -> AnyFault:
    """Read a fault from a query string.

    Raises:
        RequestRefused: It is unknown, or a value is missing, unknown or out of bounds.

    >>> read_fault("kind=hang&seconds=2.5")
    Hang(seconds=2.5)
    """
    fields = dict(parse_qsl(query, keep_blank_values=True))
    if "kind" not in fields:
        raise RequestRefused(f"kind is required, one of: {_KINDS}", param="kind")
    try:
        fault: AnyFault = msgspec.convert(fields, type=AnyFault, strict=False)
    except msgspec.ValidationError as error:
        raise RequestRefused(f"fault {query!r}: {error}", param="fault") from error
    return fault


# Which the engine ends by itself, or which have no end.
_ENDLESS: Final = (Hang, Flush)


class Faults:
    """Let faults begin and end on one endpoint.

    Args:
        driver: Runs the engine.
        metrics: Lost in a crash.
        publisher: Of KV events, ``None`` where there are none.
        rng: Draws whom a fault of a share hits.
    """

    def __init__(
        self,
        driver: Driver,
        metrics: EndpointMetrics,
        publisher: KvEventPublisher | None,
        rng: Random,
    ) -> None:
        self._driver = driver
        self._metrics = metrics
        self._publisher = publisher
        self._rng = rng
        self._now: dict[type[Asked], AnyFault] = {}
        self._ends: dict[type[Asked], asyncio.TimerHandle] = {}

    @property
    def down(self) -> bool:
        """Tell whether the endpoint has crashed and is not back yet."""
        return Crash in self._now

    @property
    def page(self) -> str | None:
        """Say how the page of metrics is wrong, ``None`` where it is right."""
        fault = self._now.get(Page)
        return fault.how if isinstance(fault, Page) else None

    def refuses(self) -> bool:
        """Draw whether the next request is refused."""
        return self._hits(Refuse)

    def resets(self) -> bool:
        """Draw whether the next response is broken off."""
        return self._hits(Reset)

    def begin(self, fault: AnyFault) -> None:
        """Let a fault begin; one of a kind under way is replaced.

        Raises:
            RequestRefused: It is one of KV events, and there are none.
        """
        kind = type(fault)
        if isinstance(fault, LoseEvents) and self._publisher is None:
            raise RequestRefused("it publishes no KV events", param="kind")
        under_way = self._ends.pop(kind, None)
        if under_way is not None:
            under_way.cancel()
        self._act(fault)
        if isinstance(fault, _ENDLESS):
            return
        self._now[kind] = fault
        if fault.seconds is not None:
            loop = asyncio.get_running_loop()
            self._ends[kind] = loop.call_later(fault.seconds, self._end, kind)

    def _act(self, fault: AnyFault) -> None:
        match fault:
            case SlowDown(factor=factor):
                self._driver.slow_down(factor)
            case Hang(seconds=seconds):
                self._driver.hang(seconds)
            case Crash():
                self._driver.crash()
                self._metrics.reset()
            case Flush():
                self._driver.flush()
            case LoseEvents(replayed=replayed) if self._publisher is not None:
                self._publisher.lose(replayed=replayed)

    def _end(self, kind: type[Asked]) -> None:
        del self._ends[kind], self._now[kind]
        if kind is SlowDown:
            self._driver.slow_down(1.0)
        elif kind is LoseEvents and self._publisher is not None:
            self._publisher.find_again()

    def _hits(self, kind: type[Refuse | Reset]) -> bool:
        fault = self._now.get(kind)
        return isinstance(fault, Refuse | Reset) and self._rng.random() < fault.share
