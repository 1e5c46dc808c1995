"""Read what a Kubernetes API server writes: pages of a list, lines of a watch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from collectors.discovery.kubernetes_objects import Item
from collectors.discovery.source import DiscoveryFailure
from collectors.errors import CollectorsError

I = TypeVar("I", bound=Item)  # noqa: E741
T = TypeVar("T")

_REASONS: Final[Mapping[int | None, DiscoveryFailure]] = {
    401: "denied",
    403: "denied",
    410: "expired",
}


class ApiFailed(CollectorsError):
    """The API server did not say what it was asked.

    Attributes:
        reason: In what way.
    """

    def __init__(self, reason: DiscoveryFailure, problem: str) -> None:
        super().__init__(problem)
        self.reason: DiscoveryFailure = reason


@dataclass(frozen=True, slots=True)
class Put(Generic[I]):
    """Tell of an object that was added or has changed."""

    item: I


@dataclass(frozen=True, slots=True)
class Gone(Generic[I]):
    """Tell of an object that was deleted, or is selected no more."""

    item: I


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Tell that everything before this version has been told."""

    version: str


Event = Put[I] | Gone[I] | Bookmark


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str
    continue_: str | None = msgspec.field(default=None, name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Status(msgspec.Struct):
    code: int | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[I]):
    """Hold some of a list.

    Attributes:
        items: The objects.
        version: The list was read at.
        further: Asks for the next page, ``None`` where this is the last.
    """

    items: list[I]
    version: str
    further: str | None


def read_page(body: bytes, kind: type[I]) -> Page[I]:
    """Read one page of a list.

    Raises:
        ApiFailed: It is none.
    """
    page = _decode(body, _Page)
    return Page(
        items=[_decode(one, kind) for one in page.items or ()],
        version=page.metadata.resource_version,
        further=page.metadata.continue_ or None,
    )


def read_event(line: bytes, kind: type[I]) -> Event[I]:
    """Read one line of a watch.

    Raises:
        ApiFailed: It is no event, or says that the watch is over.
    """
    event = _decode(line, _Line)
    if event.type in {"ADDED", "MODIFIED"}:
        return Put(_decode(event.object, kind))
    if event.type == "DELETED":
        return Gone(_decode(event.object, kind))
    if event.type == "BOOKMARK":
        version = _decode(event.object, Item).metadata.resource_version
        if version is not None:
            return Bookmark(version)
    if event.type == "ERROR":
        status = _decode(event.object, _Status)
        raise refusal(status.code, status.message)
    raise ApiFailed("invalid", f"an event of type {event.type[:40]!r}")


def refusal(code: int | None, message: str | None = None) -> ApiFailed:
    """Say what an answer that is none means.

    >>> refusal(410).reason, refusal(401).reason, refusal(500).reason
    ('expired', 'denied', 'refused')
    """
    text = f"status {code}" if message is None else f"status {code}: {message[:200]}"
    return ApiFailed(_REASONS.get(code, "refused"), text)


def _decode(data: bytes | bytearray | msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ApiFailed("invalid", f"not what was asked for: {error}") from error
