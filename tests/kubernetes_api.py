"""A Kubernetes API server on a loopback socket: enough for our sources and for kubectl.

Lists come in pages and watches as real streams, with versions, bookmarks, label and field
selectors, and 410 once :meth:`~tests.kubernetes_store.Store.compact` was called. What is
written to the store is in the sockets of those who watch before the call returns, so tests
wait for nothing but the other side. Connections can be cut, ended, fed garbage, refused.
"""

import asyncio
import base64
import json
import ssl
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from tests.fakes import LAST_CHUNK, Seen, _read_request, _reset, chunk, json_response
from tests.kubernetes_collections import collections_of
from tests.kubernetes_store import (
    RESOURCES,
    Change,
    Key,
    Match,
    Object,
    Refused,
    Resource,
    Store,
    event_line,
    field_match,
    label_match,
    merged,
    status_of,
)
from tests.kubernetes_watches import Place, Watch

PHRASES = {200: b"200 OK", 201: b"201 Created"}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request, taken apart."""

    method: str
    parts: tuple[str, ...]
    query: dict[str, str]
    seen: Seen

    @property
    def watch(self) -> bool:
        return self.query.get("watch") in {"1", "true", "True"}


class KubernetesApi:
    """Serve a store; an asynchronous context manager.

    Attributes:
        store: What there is.
        seen: All requests, in order.
        opened: How many watches were opened, by collection.
        tokens: Who may ask; ``None``: everybody.
        forbidden: Collections that nobody may read.
        refusals: Status codes the next requests get.
        scripted: What the next lists say instead of the truth.
        watcher: Told of every request before it is answered.
        gone_as_status: Say 410 as a status instead of in the stream.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.store = Store()
        self.seen: list[Seen] = []
        self.opened: Counter[str] = Counter()
        self.tokens: set[str] | None = None
        self.forbidden: set[str] = set()
        self.refusals: deque[int] = deque()
        self.scripted: deque[Object] = deque()
        self.watcher: Callable[[Seen], None] = lambda _: None
        self.gone_as_status = False
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._watches: list[Watch] = []
        self._moved = asyncio.Condition()
        self.store.listeners.append(self._on_change)

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", self.port, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and reset every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def put(self, made: Object, namespace: str = "default") -> Object:
        """Create or replace an object."""
        resource = next(one for one in RESOURCES if _is(one, made))
        return self.store.put(resource, namespace, made)

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Delete an object by its kind and name."""
        resource = next(one for one in RESOURCES if one.kind == kind)
        self.store.delete(Key(resource.group, resource.plural, namespace, name))

    def finish(self, kind: str, name: str, namespace: str = "default") -> None:
        """Let an object that lingers leave."""
        resource = next(one for one in RESOURCES if one.kind == kind)
        self.store.finish(Key(resource.group, resource.plural, namespace, name))

    def watches(self, plural: str) -> list[Watch]:
        """Give the open streams of a collection."""
        return [watch for watch in self._watches if watch.place.resource.plural == plural]

    def write(self, plural: str, line: bytes) -> None:
        """Write whatever to those who watch a collection."""
        for watch in self.watches(plural):
            watch.write(line)

    def say(self, plural: str, kind: str, found: Object) -> None:
        """Tell those who watch a collection of an event that need not be true."""
        self.write(plural, event_line(kind, found))

    def bookmark(self) -> None:
        """Send a bookmark to all who allow them."""
        for watch in self._watches:
            watch.bookmark(self.store.version)

    def end(self) -> None:
        """End all watches as a server does when their time is up."""
        for watch in self._watches:
            watch.over.set()

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            if not writer.transport.is_closing():
                _reset(writer)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that requests bring about."""
        async with asyncio.timeout(30), self._moved:
            await self._moved.wait_for(condition)

    async def watched(self, *plurals: str, times: int = 1) -> None:
        """Wait until collections have been watched so many times."""
        await self.until(lambda: all(self.opened[plural] >= times for plural in plurals))

    def _on_change(self, change: Change) -> None:
        for watch in self._watches:
            watch.take(change)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    seen = await _read_request(reader)
                    self.seen.append(seen)
                    self.watcher(seen)
                    await self._serve(seen, reader, writer)
                    await writer.drain()
                    await self._tell()
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _serve(
        self, seen: Seen, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        url = urlsplit(seen.target)
        asked = Asked(
            method=seen.method,
            parts=tuple(part for part in url.path.split("/") if part),
            query=dict(parse_qsl(url.query)),
            seen=seen,
        )
        try:
            self._check(seen)
            if (found := collections_of(asked.parts)) is not None:
                status = 200
            elif asked.watch:
                await self._watch(asked, reader, writer)
                return
            else:
                status, found = self._answer(asked)
        except Refused as refused:
            status, found = refused.code, status_of(refused)
        phrase = PHRASES.get(status, b"%d Refused" % status)
        writer.write(json_response(found, status=phrase))

    def _check(self, seen: Seen) -> None:
        if self.refusals:
            raise Refused(self.refusals.popleft(), "Scripted", "told to refuse")
        bearer = (seen.header("authorization") or "").removeprefix("Bearer ")
        if self.tokens is not None and bearer not in self.tokens:
            raise Refused(401, "Unauthorized", "Unauthorized")

    def _place(self, parts: tuple[str, ...]) -> Place:
        first, *rest = parts or ("",)
        if first not in {"api", "apis"} or len(rest) < 2:
            raise Refused(404, "NotFound", "the fake has no such path")
        group = "" if first == "api" else rest.pop(0)
        version = rest.pop(0)
        namespace = None
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        plural, name, sub = [*rest, None, None][:3]
        for resource in RESOURCES:
            if (group, version, plural) == resource[:3]:
                if plural in self.forbidden:
                    raise Refused(403, "Forbidden", f"{plural} is forbidden")
                return Place(resource=resource, namespace=namespace, name=name, sub=sub)
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _answer(self, asked: Asked) -> tuple[int, Object]:
        place = self._place(asked.parts)
        resource, namespace = place.resource, place.namespace or ""
        if place.name is None:
            if asked.method == "POST":
                return 201, self.store.create(resource, namespace, json.loads(asked.seen.body))
            if self.scripted:
                return 200, self.scripted.popleft()
            return 200, self._list(place, asked.query)
        key = Key(resource.group, resource.plural, namespace, place.name)
        if place.sub == "scale":
            return 200, self._scale(resource, key, asked)
        if asked.method == "GET":
            return 200, self.store.get(key)
        if asked.method == "DELETE":
            return 200, self.store.delete(key)
        body = json.loads(asked.seen.body)
        if asked.method == "PUT":
            return 200, self.store.put(resource, namespace, body)
        return 200, self._patch(resource, key, asked.seen.header("content-type"), body)

    def _patch(self, resource: Resource, key: Key, how: str | None, body: Object) -> Object:
        if how == "application/json-patch+json":
            raise Refused(415, "UnsupportedMediaType", "the fake takes no JSON patches")
        if how == "application/apply-patch+yaml":
            found = self.store.objects.get(key, {})
            return self.store.put(resource, key.namespace, merged(found, body))
        return self.store.patch(resource, key, body)

    def _scale(self, resource: Resource, key: Key, asked: Asked) -> Object:
        if asked.method in {"PUT", "PATCH"}:
            replicas = json.loads(asked.seen.body)["spec"]["replicas"]
            self.store.patch(resource, key, {"spec": {"replicas": replicas}})
        found = self.store.get(key)
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": found["metadata"],
            "spec": {"replicas": found["spec"]["replicas"]},
            "status": {"replicas": found["spec"]["replicas"], "selector": ""},
        }

    def _list(self, place: Place, query: dict[str, str]) -> Object:
        match = _match(query)
        resource = place.resource
        version, after = self.store.version, ""
        if token := query.get("continue"):
            version, after = json.loads(base64.b64decode(token))
            if version < self.store.floor:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
        found = [
            one
            for one in self.store.of(resource.group, resource.plural, place.namespace)
            if match(one) and one["metadata"]["name"] > after
        ]
        meta: Object = {"resourceVersion": str(version)}
        limit = int(query.get("limit") or 0)
        if 0 < limit < len(found):
            found = found[:limit]
            rest = json.dumps([version, found[-1]["metadata"]["name"]])
            meta["continue"] = base64.b64encode(rest.encode()).decode()
        kind = f"{resource.kind}List"
        return {
            "kind": kind, "apiVersion": resource.api_version, "metadata": meta, "items": found
        }  # fmt: skip

    async def _watch(
        self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        place = self._place(asked.parts)
        if place.name is not None:
            raise Refused(400, "BadRequest", "watches by name take a field selector")
        watch = Watch(place=place, query=asked.query, match=_match(asked.query), writer=writer)
        try:
            missed = self._missed(watch)
        except Refused as refused:
            if self.gone_as_status:
                raise
            writer.write(HEAD + chunk(event_line("ERROR", status_of(refused))) + LAST_CHUNK)
            return
        writer.write(HEAD)
        for line in missed:
            watch.write(line)
        self._watches.append(watch)
        self.opened[place.resource.plural] += 1
        await self._tell()
        try:
            await self._stream(watch, reader)
        finally:
            self._watches.remove(watch)

    def _missed(self, watch: Watch) -> list[bytes]:
        since = watch.query.get("resourceVersion", "0")
        if since == "0":
            place = watch.place
            present = self.store.of(place.resource.group, place.resource.plural, place.namespace)
            return [event_line("ADDED", one) for one in present if watch.match(one)]
        lines: list[bytes] = []
        for change in self.store.since(int(since)):
            resource, key = watch.place.resource, change.key
            if key[:2] == (resource.group, resource.plural) and watch.place.namespace in (
                None,
                key.namespace,
            ):
                event = change.event(watch.match)
                lines += [event_line(*event)] if event else []
        return lines

    async def _stream(self, watch: Watch, reader: asyncio.StreamReader) -> None:
        gone = asyncio.ensure_future(reader.read(1))
        over = asyncio.ensure_future(watch.over.wait())
        limit_s = float(watch.query.get("timeoutSeconds") or 1800)
        try:
            await asyncio.wait({gone, over}, timeout=limit_s, return_when="FIRST_COMPLETED")
            if gone.done():
                raise ConnectionResetError
            watch.bookmark(self.store.version)  # as real servers do before they end one
            watch.writer.write(LAST_CHUNK)
        finally:
            gone.cancel()
            over.cancel()
            await asyncio.wait({gone, over})


def _is(resource: Resource, made: Object) -> bool:
    same_kind = resource.kind == made["kind"]
    return same_kind and made.get("apiVersion", resource.api_version) == resource.api_version


def _match(query: dict[str, str]) -> Match:
    by_label = label_match(query.get("labelSelector", ""))
    by_field = field_match(query.get("fieldSelector", ""))
    return lambda found: by_label(found) and by_field(found)
