"""What a Kubernetes API server keeps: objects under versions, and the changes between them.

Every write has a version of its own, one higher than the one before. Changes are kept until
:meth:`Store.compact`; whoever asks for older ones is told they are gone. A watcher by labels
sees an object that begins to match as added, and one that ceases to as deleted.
"""

import copy
import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

# Any: objects are JSON of any shape.
Object = dict[str, Any]
Match = Callable[[Object], bool]
FIRST_VERSION = 100


class Resource(NamedTuple):
    """One collection of the API."""

    group: str
    version: str
    plural: str
    kind: str
    short: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


POOLS = "inference.networking.k8s.io"
ALPHA_POOLS = "inference.networking.x-k8s.io"
RESOURCES = (
    Resource("", "v1", "namespaces", "Namespace", "ns", namespaced=False),
    Resource("", "v1", "pods", "Pod", "po"),
    Resource("", "v1", "services", "Service", "svc"),
    Resource("apps", "v1", "statefulsets", "StatefulSet", "sts"),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", "eps"),
    Resource(POOLS, "v1", "inferencepools", "InferencePool", "infpool"),
    Resource(ALPHA_POOLS, "v1alpha2", "inferencepools", "InferencePool", "xinfpool"),
)


class Key(NamedTuple):
    """Where an object is found."""

    group: str
    plural: str
    namespace: str
    name: str


class Refused(Exception):
    """The request cannot be served, and the API says why."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One write: nothing before it is a creation, nothing after it a deletion."""

    version: int
    key: Key
    before: Object | None
    after: Object | None

    def event(self, match: Match) -> tuple[str, Object] | None:
        """Say what it is to a watcher of matching objects."""
        was = self.before is not None and match(self.before)
        is_one = self.after is not None and match(self.after)
        if is_one:
            assert self.after is not None
            return ("MODIFIED" if was else "ADDED"), self.after
        if was:
            assert self.before is not None
            last = copy.deepcopy(self.after or self.before)
            last["metadata"]["resourceVersion"] = str(self.version)
            return "DELETED", last
        return None


@dataclass(kw_only=True)
class Store:
    """Hold all objects; writes are told to ``listeners`` as they happen."""

    version: int = FIRST_VERSION
    floor: int = 0
    objects: dict[Key, Object] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    listeners: list[Callable[[Change], None]] = field(default_factory=list)
    lingering: bool = False
    """Pods that are deleted are marked first, and leave by :meth:`finish`."""

    def of(self, group: str, plural: str, namespace: str | None) -> Iterator[Object]:
        for key, found in sorted(self.objects.items()):
            if key[:2] == (group, plural) and namespace in (None, key.namespace):
                yield found

    def get(self, key: Key) -> Object:
        if key not in self.objects:
            raise Refused(404, "NotFound", f'{key.plural} "{key.name}" not found')
        return self.objects[key]

    def put(self, resource: Resource, namespace: str, made: Object) -> Object:
        """Create an object, or replace the one of its name."""
        wanted = copy.deepcopy(made)
        meta = wanted.setdefault("metadata", {})
        key = Key(resource.group, resource.plural, namespace, meta["name"])
        before = self.objects.get(key)
        kept = {} if before is None else before["metadata"]
        wanted["apiVersion"], wanted["kind"] = resource.api_version, resource.kind
        if resource.namespaced:
            meta["namespace"] = namespace
        meta["uid"] = meta.get("uid") or kept.get("uid") or str(uuid.uuid4())
        meta["creationTimestamp"] = kept.get("creationTimestamp") or "2026-01-01T00:00:00Z"
        return self._write(key, before, wanted)

    def create(self, resource: Resource, namespace: str, made: Object) -> Object:
        name = made["metadata"]["name"]
        if Key(resource.group, resource.plural, namespace, name) in self.objects:
            raise Refused(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        return self.put(resource, namespace, made)

    def patch(self, resource: Resource, key: Key, patch: Object) -> Object:
        return self.put(resource, key.namespace, merged(self.get(key), patch))

    def delete(self, key: Key) -> Object:
        """Delete an object; a pod that lingers is only marked."""
        found = self.get(key)
        if self.lingering and key.plural == "pods":
            if "deletionTimestamp" in found["metadata"]:
                return found
            marked = copy.deepcopy(found)
            marked["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:30Z"
            return self._write(key, found, marked)
        return self.finish(key)

    def finish(self, key: Key) -> Object:
        """Take an object out for good."""
        found = self.get(key)
        del self.objects[key]
        return self._tell(key, found, None) or found

    def compact(self) -> None:
        """Forget all changes: versions before this one are gone."""
        self.version += 1
        self.floor = self.version
        self.changes.clear()

    def since(self, version: int) -> list[Change]:
        if version < self.floor:
            text = f"too old resource version: {version} ({self.floor})"
            raise Refused(410, "Expired", text)
        return [change for change in self.changes if change.version > version]

    def _write(self, key: Key, before: Object | None, after: Object) -> Object:
        after["metadata"]["resourceVersion"] = str(self.version + 1)
        self.objects[key] = after
        self._tell(key, before, after)
        return after

    def _tell(self, key: Key, before: Object | None, after: Object | None) -> Object | None:
        self.version += 1
        change = Change(version=self.version, key=key, before=before, after=after)
        self.changes.append(change)
        for listener in tuple(self.listeners):
            listener(change)
        return after


def merged(target: Object, patch: Object) -> Object:
    """Apply a merge patch; lists of named things merge by name where kubectl sends them so.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": None, "d": 3}})
    {'a': {'c': 2, 'd': 3}}
    """
    result = dict(target)
    for name, value in patch.items():
        if name.startswith("$"):  # a directive of the strategic form
            continue
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            old = result.get(name)
            result[name] = merged(old if isinstance(old, dict) else {}, value)
        elif name == "containers" and isinstance(result.get(name), list):
            old_ones = {one["name"]: one for one in result[name]}
            result[name] = [merged(old_ones.get(one["name"], {}), one) for one in value]
        else:
            result[name] = value
    return result


def label_match(selector: str) -> Match:
    """Read a label selector; those of equality and existence are understood.

    >>> label_match("app=x,tier!=y,!gone")({"metadata": {"labels": {"app": "x"}}})
    True
    """
    parts = [part.strip() for part in selector.split(",") if part.strip()]

    def match(found: Object) -> bool:
        labels = found["metadata"].get("labels") or {}
        return all(_holds(part, labels) for part in parts)

    return match


def _holds(part: str, labels: dict[str, str]) -> bool:
    if " in (" in part or " notin (" in part:
        raise Refused(400, "BadRequest", f"the fake knows no sets: {part}")
    if "!=" in part:
        name, value = part.split("!=")
        return labels.get(name) != value
    if "=" in part:
        name, _, value = part.partition("=")
        return labels.get(name) == value.removeprefix("=")
    return part[1:] not in labels if part.startswith("!") else part in labels


def field_match(selector: str) -> Match:
    """Read a field selector: names and namespaces, as custom resources have them.

    >>> field_match("metadata.name=x")({"metadata": {"name": "x"}})
    True
    """
    wanted = [part.split("=", 1) for part in selector.split(",") if part]
    for path, _ in wanted:
        if path not in {"metadata.name", "metadata.namespace"}:
            raise Refused(400, "BadRequest", f"field label not supported: {path}")
    return lambda found: all(
        found["metadata"].get(path.removeprefix("metadata.")) == value.removeprefix("=")
        for path, value in wanted
    )


def event_line(kind: str, found: Object) -> bytes:
    """Write one event of a watch."""
    return json.dumps({"type": kind, "object": found}).encode() + b"\n"


def status_of(refused: Refused) -> Object:
    """Write a refusal as the API does."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(refused),
        "reason": refused.reason,
        "code": refused.code,
    }
