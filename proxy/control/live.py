"""The live page: its files, and the stream of snapshots that keeps it current."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from importlib.resources.abc import Traversable
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse
from starlette.exceptions import HTTPException

from proxy.control.plane import ControlPlane
from proxy.control.schemas import Snapshot
from proxy.control.views import snapshot

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


def live_routes(
    plane: ControlPlane, *, page: Traversable, closing: asyncio.Event, interval_s: float
) -> APIRouter:
    """Build the live page's routes.

    Args:
        plane: The running service.
        page: Folder of the page's files; read once, here.
        closing: Set when the server wants its connections back; ends every stream.
        interval_s: Time between two snapshots.
    """
    router = APIRouter()
    files = _read(page)

    @router.get("/events", response_class=EventSourceResponse)
    async def events() -> AsyncIterator[Snapshot]:
        """Stream snapshots; the first carries the whole series."""
        since_s = float("-inf")
        while True:
            sent_s = plane.now() // 1  # this second may still grow: it is sent again
            yield snapshot(plane, since_s=since_s)
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
