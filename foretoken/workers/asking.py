"""Put HTTP requests to other workers, and answer theirs, without a socket in between.

A question is an HTTP request in a message; whoever gets it calls its own application with
it and sends the response back. What another worker does not answer in time is missing from
the whole, and whoever asked says so.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from foretoken.workers.bus import Bus
from foretoken.workers.messages import Answered, Asked
from proxy.errors import ErrorResponse

log = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 1.0
"""A worker answers in milliseconds, or it is stuck."""

METRICS: Final = "own:metrics"
"""Asked between workers alone, as below: no client's path begins like that."""
SNAPSHOT: Final = "own:snapshot"
"""The live page's snapshot since the second in the query."""

_STARTING: Final = ErrorResponse(
    status=503, message="the worker starts", type="service_unavailable", code="starting"
)
_INTERNAL: Final = ErrorResponse(
    status=500, message="internal error", type="internal_error", code="internal_error"
)

# What ASGI calls a message holds anything.
_AsgiMessage = MutableMapping[str, Any]

_Answer = Callable[[bytes], bytes | Awaitable[bytes]]
"""Answers a query by itself."""


class Asking:
    """Ask other workers, and answer them.

    Args:
        bus: Carries it.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._numbers = itertools.count(1)
        self._open: dict[tuple[int, int], asyncio.Future[Answered]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._app: ASGIApp | None = None
        self._own: dict[str, _Answer] = {}

    def serve(self, app: ASGIApp, own: dict[str, _Answer]) -> None:
        """Say who answers.

        Args:
            app: Answers all but
            own: these paths, each from the query.
        """
        self._app, self._own = app, own

    async def one(
        self, worker: int, question: Asked, *, within_s: float = ANSWER_WITHIN_S
    ) -> Answered | None:
        """Ask one worker; ``None`` where it does not answer in time."""
        number = next(self._numbers)
        waiting = asyncio.get_running_loop().create_future()
        self._open[worker, number] = waiting
        try:
            if not self._bus.tell_one(worker, msgspec.structs.replace(question, number=number)):
                return None
            return await asyncio.wait_for(waiting, within_s)
        except TimeoutError:
            log.warning("worker_unanswered", extra={"worker": worker, "path": question.path})
            return None
        finally:
            del self._open[worker, number]

    async def all(self, workers: Sequence[int], question: Asked) -> dict[int, Answered]:
        """Ask several; give what came back in time."""
        answers = await asyncio.gather(*(self.one(worker, question) for worker in workers))
        return {
            worker: answer
            for worker, answer in zip(workers, answers, strict=True)
            if answer is not None
        }

    async def self(self, question: Asked) -> Answered:
        """Put a question to ourselves."""
        page = self._own.get(question.path)
        if page is not None:
            body = page(question.query)
            body = body if isinstance(body, bytes) else await body
            return Answered(question.number, 200, [], body)
        if self._app is None:
            return _failure(question, _STARTING)
        return await respond(self._app, question)

    def asked(self, worker: int, question: Asked) -> None:
        """Answer another worker, in the background."""
        task = asyncio.create_task(self._answer(worker, question))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def answered(self, worker: int, answer: Answered) -> None:
        """Take in an answer; one that comes too late is nobody's."""
        waiting = self._open.get((worker, answer.number))
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _answer(self, worker: int, question: Asked) -> None:
        self._bus.tell_one(worker, await self.self(question))


async def respond(app: ASGIApp, question: Asked) -> Answered:
    """Call an application with a request and collect its response."""
    answer = _Collected(question)
    try:
        await app(_scope(question), answer.receive, answer.send)
    except Exception:
        log.exception("question_failed", extra={"path": question.path})
        return _failure(question, _INTERNAL)
    return Answered(question.number, answer.status, answer.headers, b"".join(answer.parts))


async def read(scope: Scope, receive: Receive, *, most_bytes: int) -> Asked | None:
    """Read a whole request; ``None`` where the client went, or its body is too large.

    A body that is too large is left to the application: it says so itself.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False) and size <= most_bytes
    client = scope.get("client")
    return Asked(
        0,
        scope["method"],
        scope["path"],
        scope.get("query_string", b""),
        [(bytes(name), bytes(value)) for name, value in scope["headers"]],
        b"".join(parts),
        None if client is None else (str(client[0]), int(client[1])),
    )


def admitted(change: Asked) -> Asked:
    """Give a change as other workers take it: by whoever let it in, not by who asked for it.

    Without the key it was let in by, which may be another one when it is played again.

    >>> secret = [(b"authorization", b"Bearer x"), (b"content-type", b"application/json")]
    >>> admitted(Asked(0, "PUT", "/foretoken/mode", headers=secret, client=("10.0.0.7", 1))).headers
    [(b'content-type', b'application/json')]
    """
    headers = [header for header in change.headers if header[0] == b"content-type"]
    return msgspec.structs.replace(change, headers=headers, client=None)


async def reply(send: Send, answer: Answered) -> None:
    """Send a collected response."""
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.headers})
    await send({"type": "http.response.body", "body": answer.body, "more_body": False})


def _failure(question: Asked, error: ErrorResponse) -> Answered:
    headers = [(b"content-type", b"application/json")]
    return Answered(question.number, error.status, headers, error.body)


class _Collected:
    def __init__(self, question: Asked) -> None:
        self._question: Asked | None = question
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []

    async def receive(self) -> _AsgiMessage:
        question, self._question = self._question, None
        if question is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": question.body, "more_body": False}

    async def send(self, message: _AsgiMessage) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = [(bytes(name), bytes(value)) for name, value in message["headers"]]
        else:
            self.parts.append(bytes(message.get("body", b"")))


def _scope(question: Asked) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": question.method,
        "scheme": "http",
        "path": question.path,
        "raw_path": question.path.encode(),
        "query_string": question.query,
        "root_path": "",
        "headers": question.headers,
        "client": question.client,
        "server": None,
    }
