"""Find endpoints in files that somebody else writes.

Files are looked at over and over: a look is one system call a file, and works on every
file system, which notifications do not. What a look finds changed is read once it is
whole: a file that was put in place of another is; one written in place only once it has
looked the same twice. A file that is not there or not understood leaves its last good list
standing. One named by a pattern that stays away is taken out of the fleet.
"""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from collectors.discovery.drafts import Drafts
from collectors.discovery.lists import read_list
from collectors.discovery.settings import FileDiscovery
from collectors.discovery.source import Found, SourceHealth, only_changes
from collectors.errors import ListUnreadable, PackageNeeded
from collectors.settings import EndpointSettings

MOST_BYTES: Final = 16 << 20
"""A list of ten thousand endpoints has 2 MB."""

_GONE_AFTER: Final = 3  # looks: whoever removes a file and writes it again is quicker
_MAGIC: Final = frozenset("*?[")
_YAML: Final = {".yaml", ".yml"}

_Signature = tuple[int, int, int]
"""Inode, time of change in nanoseconds, size."""


class FileSource:
    """Tell what a set of files lists.

    Args:
        settings: Which files, and how often they are looked at.
        health: Told how it goes.
        sleep: Waits; tests pass another.
    """

    def __init__(
        self,
        settings: FileDiscovery,
        health: SourceHealth,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._health = health
        self._sleep = sleep
        self._drafts = Drafts(settings)
        self._files: dict[Path, _File] = {}

    async def run(self, found: Found) -> None:
        """Tell the whole present set on every change, until cancelled."""
        tell = only_changes(found)
        while True:
            endpoints = await asyncio.to_thread(self.look)
            if endpoints is not None:
                tell(endpoints)
            await self._sleep(self._settings.interval_s)

    def look(self) -> list[EndpointSettings] | None:
        """Look at every file; give what all list, ``None`` as long as none was ever read."""
        problem = False
        for path in self._paths():
            problem |= not self._look_at(path)
        if not problem:
            self._health.heard()
        known = [file.endpoints for file in self._files.values() if file.endpoints is not None]
        if not known and problem:
            return None
        merged = {one.name: one for endpoints in reversed(known) for one in reversed(endpoints)}
        return list(reversed(merged.values()))

    def _look_at(self, path: Path) -> bool:
        """Look at one file; say whether all is well with it."""
        file = self._files.setdefault(path, _File(path))
        try:
            file.look(self._drafts)
        except OSError as error:
            self._health.failed("unreadable", f"{path}: {error.strerror or error}")
        except (ListUnreadable, PackageNeeded) as error:
            self._health.failed("invalid", f"{path}: {error}")
        else:
            return True
        return False

    def _paths(self) -> list[Path]:
        """List the files to look at, those that a pattern no longer finds left out."""
        there: dict[Path, None] = {}
        for pattern in self._settings.files:
            there |= dict.fromkeys(self._matching(pattern))
        for path in [path for path in self._files if path not in there]:
            self._files[path].missing += 1
            if self._files[path].missing >= _GONE_AFTER:
                del self._files[path]
        for path in there:
            if path in self._files:
                self._files[path].missing = 0
        return list(there)

    def _matching(self, pattern: str) -> Iterator[Path]:
        path = Path(pattern)
        if not _MAGIC.intersection(path.name):
            yield path
            return
        try:
            yield from sorted(one for one in path.parent.iterdir() if fnmatch(one.name, path.name))
        except OSError as error:
            self._health.failed("unreadable", f"{path.parent}: {error.strerror or error}")
            yield from (known for known in self._files if _is_of(known, path))


class _File:
    """Remember one file: as it looked last, and the last good list it held."""

    def __init__(self, path: Path) -> None:
        self.endpoints: list[EndpointSettings] | None = None
        self.missing = 0
        self._path = path
        self._read: _Signature | None = None
        self._seen: _Signature | None = None
        self._digest = b""
        self._problem: ListUnreadable | PackageNeeded | None = None

    def look(self, drafts: Drafts) -> None:
        """Read it where it has changed.

        Raises:
            OSError: It cannot be read.
            ListUnreadable: It is no list of endpoints, as far as it is written.
            PackageNeeded: Nothing installed reads it.
        """
        status = self._path.stat()
        now = status.st_ino, status.st_mtime_ns, status.st_size
        before, self._seen = self._seen, now
        if now == self._read and self._problem is None:
            return
        in_place = before is not None and now[0] == before[0] and now != before
        if not in_place:  # else somebody writes: what is there may be half of it
            self._take(status, now, drafts)
        if self._problem is not None:
            raise self._problem

    def _take(self, status: os.stat_result, now: _Signature, drafts: Drafts) -> None:
        if status.st_size > MOST_BYTES:
            self._problem = ListUnreadable(f"{status.st_size} bytes are more than {MOST_BYTES}")
            self._digest = b""  # what was there before is to be read again when it is back
            return
        text = self._path.read_bytes()
        self._read = now
        digest = hashlib.blake2b(text).digest()
        if digest == self._digest:
            return
        self._digest = digest
        try:
            self.endpoints = read_list(text, drafts, yaml=self._path.suffix in _YAML)
        except (ListUnreadable, PackageNeeded) as error:
            self._problem = error
        else:
            self._problem = None


def _is_of(path: Path, pattern: Path) -> bool:
    """Say whether a path is one that a pattern finds.

    >>> _is_of(Path("/etc/fleet/a.json"), Path("/etc/fleet/*.json"))
    True
    """
    return path.parent == pattern.parent and fnmatch(path.name, os.fspath(pattern.name))
