"""This process's view of the other routers: all its parts, made and run together."""

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from os import getpid
from pathlib import Path
from typing import Final

from foretoken.routers.clock import SharedClock
from foretoken.routers.exchange import Exchange
from foretoken.routers.frames import Name
from foretoken.routers.lease import Lease
from foretoken.routers.link import Link
from foretoken.routers.others import Ear
from foretoken.routers.rows import RouterRows
from foretoken.routers.server import connected
from foretoken.routers.settings import RoutersSettings

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25
"""How often we look whether somebody has fallen silent, connected or not."""
_MARK: Final = ".store-id"
_NAME_LETTERS: Final = 16
_READS: Final = 20
_READ_AGAIN_S: Final = 0.05


class Outside:
    """Hold what connects this process with other routers.

    Args:
        settings: Where they meet.
        router: Our name among them.
        worker: Our number within our router.
        store: Names the models store we read; ``None``: nobody else can read it.
        clock: The service's.

    Attributes:
        rows: Bookings; the ledger of our scheduler.
        exchange: What is told and heard.
        lease: By which we train for all that read the store.
        shares_store: Whether other routers could read our store.
    """

    def __init__(
        self,
        settings: RoutersSettings,
        *,
        router: str,
        worker: int,
        store: str | None,
        clock: Callable[[], float],
    ) -> None:
        name = Name(router, worker, secrets.randbits(48))
        self.shares_store = store is not None
        store = store or secrets.token_hex(8)
        self._told_apart = False
        self.rows = RouterRows()
        self.exchange = Exchange(
            name=name, store=store, rows=self.rows, clock=clock, shared=SharedClock()
        )
        self._clock = clock
        self.on_lease: Callable[[], None] = _nobody
        self.lease = Lease(
            f"{router}/{worker}",
            ttl_s=settings.lease_s,
            clock=time.monotonic,
            on_change=lambda: self.on_lease(),  # noqa: PLW0108  # bound later
        )
        self._link = Link(
            self.exchange,
            self.lease,
            connect=partial(connected, settings, store),
            clock=clock,
        )

    async def run(self, ear: Ear, candidate: Callable[[], bool]) -> None:
        """Share until cancelled.

        Args:
            ear: Hears the others.
            candidate: Whether we would train for all.
        """
        self.exchange.ear = ear
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._link.run(candidate))

    def _say_whether_store_is_shared(self) -> None:
        """Say once that models of one router never reach another, and which."""
        exchange = self.exchange
        apart = {w.name.router for w in exchange.writers.values() if w.store != exchange.store}
        if apart and not self._told_apart and self.shares_store:
            advice = "set store.directory of all routers to storage that they share"
            log.warning("store_not_shared", extra={"router": min(apart), "advice": advice})
        self._told_apart = self._told_apart or bool(apart)

    def figures(self) -> dict[str, float | None]:
        """Give what is published of us, by metric; ``None`` for unknown."""
        exchange = self.exchange
        now, writers = self._clock(), exchange.writers.values()
        routers = {writer.name.router: writer for writer in writers}
        same = sum(writer.store == exchange.store for writer in routers.values())
        return {
            "foretoken_routers_connected": float(exchange.connected),
            "foretoken_routers_known": float(len(routers)),
            "foretoken_routers_heard_age_seconds": max(
                (max(now - writer.said_s, 0.0) for writer in writers), default=None
            ),
            "foretoken_routers_clock_error_seconds": exchange.shared.error_s(now),
            "foretoken_routers_training": float(self.lease.held.is_set()),
            "foretoken_routers_store_shared_ratio": same / len(routers) if routers else None,
        }

    async def _look(self) -> None:
        while True:
            self.exchange.expire()
            self.lease.check()
            self._say_whether_store_is_shared()
            await asyncio.sleep(LOOK_S)


def own_name() -> str:
    """Make a name that no other router has."""
    host = "".join(letter if letter.isalnum() else "-" for letter in socket.gethostname())
    return f"{host[:50]}-{getpid()}-{secrets.token_hex(2)}"


def store_id(store: object, *, link: Callable[[Path, Path], None] = Path.hardlink_to) -> str | None:
    """Name a models store alike in all processes that can read it.

    A folder carries its name in a file, whatever path it is mounted at; a URL is its own.

    Args:
        store: Folder or URL; ``None`` for one that goes with the process.
        link: Makes one file another's second name; tests pass one that cannot.
    """
    if store is None:
        return None
    text = str(store)
    if "://" in text and not text.startswith("file://"):
        return blake2b(text.rstrip("/").encode(), digest_size=8).hexdigest()
    mark = Path(text.removeprefix("file://")) / _MARK
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        return _mark(mark, link)
    except OSError as error:
        told = {"advice": f"the store cannot carry a name, so that nobody shares it: {error}"}
        log.warning("store_not_shared", extra=told)
        return None


def _mark(mark: Path, link: Callable[[Path, Path], None]) -> str:
    """Give the name a folder carries; whoever is first names it."""
    fresh = secrets.token_hex(_NAME_LETTERS // 2)
    own = mark.with_name(f"{_MARK}.{fresh}")
    own.write_text(fresh)
    try:
        link(mark, own)  # whole or not at all
    except FileExistsError:
        return _read(mark)
    except OSError:  # buckets mounted as folders know no links
        with suppress(FileExistsError):
            _create(mark, fresh)
        return _read(mark)
    finally:
        own.unlink()
    return fresh


def _create(mark: Path, name: str) -> None:
    """Write a name where there is none, or leave nothing."""
    with mark.open("x") as file:
        try:
            file.write(name)
            file.flush()
        except OSError:
            mark.unlink()
            raise


def _read(mark: Path) -> str:
    """Read a name, which somebody may just be writing.

    Raises:
        OSError: There is none.
    """
    for _ in range(_READS):
        name = mark.read_text().strip()
        if len(name) == _NAME_LETTERS:
            return name
        time.sleep(_READ_AGAIN_S)
    raise OSError(f"{mark} holds no name")


def _nobody() -> None:
    """Tell nobody."""
