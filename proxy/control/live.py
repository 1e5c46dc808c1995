"""The live page: its files, and the stream of snapshots that keeps it current."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException

from proxy.control.errors import TooManyPages
from proxy.control.page_schemas import Snapshot
from proxy.control.page_views import Snapshots
from proxy.control.plane import ControlPlane
from proxy.control.settings import ControlSettings

_CONTENT_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

# Nothing inline and nothing from elsewhere: the page shows names that clients chose.
_HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Ask again each time: the page must fit the running version.
    "cache-control": "no-cache",
}


class Pages:
    """Count the pages that are open, and let no more in than may be.

    What a page that reads slowly costs is its connection and one snapshot that waits to
    be sent; the next is made once that is gone.

    Args:
        most: How many may be open.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0

    @property
    def full(self) -> bool:
        """Say whether there is room for no other."""
        return self._open >= self._most

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Count one while it is open."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1


def live_routes(
    plane: ControlPlane, *, page: Traversable, closing: asyncio.Event, settings: ControlSettings
) -> APIRouter:
    """Build the live page's routes.

    Args:
        plane: The running service.
        page: Folder of the page's files; read once, here.
        closing: Set when the server wants its connections back; ends every stream.
        settings: The interval between two snapshots, and how many pages may be open.
    """
    router = APIRouter()
    files = _read(page)
    interval_s = settings.snapshot_interval_s
    snapshots, pages = Snapshots(plane, interval_s=interval_s), Pages(settings.max_pages)

    async def room() -> None:
        """Refuse a page too many.

        Raises:
            TooManyPages: It is.
        """
        if pages.full:
            raise TooManyPages(settings.max_pages)

    @router.get("/events", response_class=EventSourceResponse, dependencies=[Depends(room)])
    async def events() -> AsyncIterator[Snapshot]:
        """Stream snapshots; the first carries the whole series."""
        since_s = float("-inf")
        with pages.opened():
            while True:
                sent_s = plane.now() // 1  # this second may still grow: it is sent again
                yield snapshots.since(since_s)
                since_s = sent_s
                if closing.is_set():
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(closing.wait(), interval_s)

    @router.get("/", include_in_schema=False)
    async def index() -> Response:
        return _file(files, "index.html")

    @router.get("/live/{path:path}", include_in_schema=False)
    async def static(path: str) -> Response:
        return _file(files, path)

    return router


def _file(files: dict[str, tuple[bytes, str]], path: str) -> Response:
    if path not in files:
        raise HTTPException(404, f"no such file: {path}")
    body, content_type = files[path]
    return Response(body, headers={**_HEADERS, "content-type": content_type})


def _read(folder: Traversable, prefix: str = "") -> dict[str, tuple[bytes, str]]:
    """Read the files whose type the page uses, by path below ``folder``."""
    files: dict[str, tuple[bytes, str]] = {}
    for entry in folder.iterdir():
        path = prefix + entry.name
        if entry.is_dir():
            files |= _read(entry, f"{path}/")
        elif (suffix := f".{entry.name.rpartition('.')[2]}") in _CONTENT_TYPES:
            files[path] = (entry.read_bytes(), _CONTENT_TYPES[suffix])
    return files
