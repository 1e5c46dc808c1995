"""The control plane of all workers, whichever of them is asked.

What is looked at is gathered from all and merged; what is changed is changed at the worker
that was asked, and where it took the change, at all others, and kept for those that begin
later. Where another worker refuses it, whoever asked is told so; one that does not answer
is dead, and plays it when it is back, or late. The models behind the predictor's API are
those of the worker that leads. Wraps the control plane of one worker, which knows nothing
of the others; who may look at all this is asked before.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Protocol
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Receive, Scope, Send

from foretoken.departures import Departures
from foretoken.workers.asking import METRICS, SNAPSHOT, Asking, admitted, read, reply
from foretoken.workers.messages import Answered, Asked
from foretoken.workers.pages import merged_page
from foretoken.workers.views import merged
from proxy.answers import send_error
from proxy.control import Pages, TooManyPages
from proxy.errors import ErrorResponse
from proxy.metrics_page import Encoding

log = logging.getLogger(__name__)

_PREFIX: Final = "/foretoken"
_EVENT_STREAM: Final = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_FORWARD_WITHIN_S: Final = 30.0
_MOST_CHANGES: Final = 1000
_DRAINS: Final = ("drain", "undrain")


class Crew(Protocol):
    """Tell who is there."""

    @property
    def others(self) -> Sequence[int]:
        """List the other workers that can be asked."""
        ...

    @property
    def leader(self) -> int | None:
        """Name the worker that leads, ``None`` for ourselves."""
        ...


class Changes:
    """Keep what was changed at run time, so that a worker that begins can catch up.

    The same change made again counts as of then; played again in this order, all changes
    end where they ended. Drains go with their endpoint: whoever comes much later to the same
    address is another one.
    """

    def __init__(self) -> None:
        self._changes: dict[tuple[str, str, bytes, bytes], Asked] = {}
        self._departures = Departures()

    def add(self, change: Asked) -> None:
        """Take in a change that was made; of too many the oldest is forgotten."""
        key = (change.method, change.path, change.query, change.body)
        self._changes.pop(key, None)
        self._changes[key] = change
        if len(self._changes) > _MOST_CHANGES:
            del self._changes[next(iter(self._changes))]

    def follow(self, endpoints: Iterable[str], now: float) -> None:
        """Take in the whole present set, and forget the drains of those long gone."""
        for name in self._departures.follow(endpoints, now):
            paths = {f"{_PREFIX}/endpoints/{name}/{way}" for way in _DRAINS}
            for key in [key for key, change in self._changes.items() if change.path in paths]:
                del self._changes[key]

    def all(self) -> list[Asked]:
        """Give them, oldest first."""
        return list(self._changes.values())


class WholeControl:
    """Answer for all workers; an ASGI application around the control plane of one.

    Args:
        control: Of this worker.
        asking: Reaches the others.
        crew: Who they are.
        changes: Takes in what is changed.
        extra_page: What the metrics page says of the workers themselves, from who answered.
        closing: Set when the server begins to shut down.
        interval_s: Time between two snapshots of the live page.
        most_body_bytes: Longer bodies are left to the control plane itself.
        most_pages: How many live pages may be open.
    """

    def __init__(
        self,
        control: ASGIApp,
        *,
        asking: Asking,
        crew: Crew,
        changes: Changes,
        extra_page: Callable[[set[int], Encoding], bytes],
        closing: asyncio.Event,
        interval_s: float,
        most_body_bytes: int,
        most_pages: int,
    ) -> None:
        self._control = control
        self._asking = asking
        self._crew = crew
        self._changes = changes
        self._extra_page = extra_page
        self._closing = closing
        self._interval_s = interval_s
        self._most_body_bytes = most_body_bytes
        self._most_pages = most_pages
        self._pages = Pages(most_pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request below ``/foretoken``."""
        path, method = scope["path"].removeprefix(_PREFIX), scope["method"]
        if method == "GET" and path == "/events":
            if self._pages.full:
                await send_error(send, _too_many(self._most_pages))
                return
            with self._pages.opened():
                await self._stream(receive, send)
            return
        gathers = path in {"/decisions", "/endpoints", "/routers"} or path.startswith("/decisions/")
        elsewhere = path.startswith("/predictor/") or path == "/models"
        if method in {"GET", "HEAD"} and not (gathers or elsewhere):
            await self._control(scope, receive, send)
            return
        question = await read(scope, receive, most_bytes=self._most_body_bytes)
        if question is None:
            return
        if elsewhere:
            answer = await self._ask_leader(question)
        elif method in {"GET", "HEAD"}:
            answer = await self._gather(path, question)
        elif path == "/predict":
            answer = await self._asking.self(question)
        else:
            answer = await self._change(path, question)
        await reply(send, answer)

    async def metrics(self, encoding: Encoding) -> bytes:
        """Give the one metrics page."""
        question = Asked(0, "GET", METRICS, b"openmetrics" if encoding == "openmetrics" else b"")
        own = await self._asking.self(question)
        answers = await self._asking.all(self._crew.others, question)
        pages = [own.body, *(answer.body for answer in answers.values())]
        return merged_page((*pages, self._extra_page(set(answers), encoding)))

    async def _gather(self, path: str, question: Asked) -> Answered:
        own = await self._asking.self(question)
        if path.startswith("/decisions/"):
            if own.status != 404:
                return own
            answers = await self._asking.all(self._crew.others, question)
            return next((each for each in answers.values() if each.status == 200), own)
        if own.status != 200:
            return own
        answers = await self._asking.all(self._crew.others, question)
        bodies = [own.body, *(each.body for each in answers.values() if each.status == 200)]
        body = merged(path.removeprefix("/"), bodies, limit=_limit(path, question.query))
        return Answered(0, 200, [(b"content-type", b"application/json")], body)

    async def _ask_leader(self, question: Asked) -> Answered:
        leader = self._crew.leader
        if leader is None:
            return await self._asking.self(question)
        answer = await self._asking.one(leader, question, within_s=_FORWARD_WITHIN_S)
        return answer or await self._asking.self(question)

    async def _change(self, path: str, question: Asked) -> Answered:
        answer = await self._asking.self(question)
        if answer.status >= 300:
            return answer
        change = admitted(question)
        if path != "/reload":  # whoever begins reads the file as it is then
            self._changes.add(change)
        answers = await self._asking.all(self._crew.others, change)
        refused = {
            worker: other.status
            for worker, other in answers.items()
            if other.status >= 300 and not _is_gone(change, other)
        }
        return _refused_by_some(refused, question) if refused else answer

    async def _stream(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        gone = asyncio.create_task(_until_gone(receive))
        since_s = "-inf"
        try:
            while not gone.done():
                body, since_s = await self._snapshot(since_s)
                event = b"data: " + body + b"\n\n"
                await send({"type": "http.response.body", "body": event, "more_body": True})
                if self._closing.is_set():
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), self._interval_s)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            gone.cancel()

    async def _snapshot(self, since_s: str) -> tuple[bytes, str]:
        question = Asked(0, "GET", SNAPSHOT, since_s.encode())
        own = await self._asking.self(question)
        answers = await self._asking.all(self._crew.others, question)
        body = merged("snapshot", [own.body, *(each.body for each in answers.values())])
        return body, repr(json.loads(own.body)["at_s"] // 1)  # this second may still grow


def _limit(path: str, query: bytes) -> int:
    """Give how many decisions were asked for, which the control plane has found to be right.

    >>> _limit("/decisions", b"limit=5&limit=7"), _limit("/endpoints", b"limit=all")
    (7, 50)
    """
    asked = parse_qs(query.decode("latin-1")) if path == "/decisions" else {}
    return int(asked.get("limit", ["50"])[-1])  # of several it has taken the last


def _too_many(pages: int) -> ErrorResponse:
    error = TooManyPages(pages)
    return ErrorResponse(
        status=error.status, message=error.message, type=error.type, code=error.code
    )


def _is_gone(change: Asked, answer: Answered) -> bool:
    """Say whether what was to be removed was not there to begin with."""
    return change.method == "DELETE" and answer.status == 404


def _refused_by_some(refused: dict[int, int], change: Asked) -> Answered:
    """Say that workers now differ, and where."""
    told = ", ".join(f"worker {worker}: status {status}" for worker, status in refused.items())
    log.error("change_refused", extra={"path": change.path, "refused": told})
    error = ErrorResponse(
        status=503,
        message=f"changed at the worker that was asked, but refused by others ({told}); "
        "undo the change and make it again",
        type="service_unavailable",
        code="workers_differ",
    )
    return Answered(0, error.status, [(b"content-type", b"application/json")], error.body)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
