"""The open streams of the fake Kubernetes API."""

import asyncio
from dataclasses import dataclass, field

from tests.fakes import chunk
from tests.kubernetes_store import Change, Match, Resource, event_line


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a path names: a collection, one object, or a subresource of it."""

    resource: Resource
    namespace: str | None
    name: str | None
    sub: str | None


@dataclass(eq=False, kw_only=True)
class Watch:
    """One open stream."""

    place: Place
    query: dict[str, str]
    match: Match
    writer: asyncio.StreamWriter
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, line: bytes) -> None:
        self.writer.write(chunk(line))

    def take(self, change: Change) -> None:
        resource, key = self.place.resource, change.key
        if key[:2] != (resource.group, resource.plural):
            return
        if self.place.namespace not in (None, key.namespace):
            return
        if event := change.event(self.match):
            self.write(event_line(*event))

    def bookmark(self, version: int) -> None:
        if self.query.get("allowWatchBookmarks") == "true":
            resource = self.place.resource
            empty = {"metadata": {"resourceVersion": str(version)}}
            found = {"kind": resource.kind, "apiVersion": resource.api_version, **empty}
            self.write(event_line("BOOKMARK", found))
