"""A disk for traces that can be filled: a small tmpfs, or a limit on the size of files.

As root a file system of its own is mounted, and really has no space left. Without, the
kernel refuses to let a file grow (``RLIMIT_FSIZE``), which fails in the same place.
"""

import os
import resource
import subprocess
from pathlib import Path
from typing import Final, Protocol

from benchmarks.storm.servers import Server

_SIZE: Final = "64m"
_FILLER: Final = "filler"
_CHUNK: Final = b"\0" * (1 << 20)
_LIMIT_BYTES: Final = 4096


class Disk(Protocol):
    """Hold traces, until it is full."""

    def open(self) -> None:
        """Make it ready, before the server starts."""
        ...

    def fill(self) -> None:
        """Leave no room."""
        ...

    def empty(self) -> None:
        """Make room again."""
        ...

    def close(self) -> None:
        """Give it back, after the server has ended."""
        ...


def disk_at(folder: Path, server: Server) -> Disk:
    """Choose what this machine allows."""
    return SmallDisk(folder) if _mountable() else Limit(server)


class SmallDisk:
    """A tmpfs mounted at a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filler = folder / _FILLER

    def open(self) -> None:
        """Mount it."""
        _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "storm", str(self._folder))

    def fill(self) -> None:
        """Write until there is no space left."""
        try:
            with self._filler.open("wb", buffering=0) as filler:
                while True:
                    filler.write(_CHUNK)
        except OSError:
            pass  # that is what was wanted

    def empty(self) -> None:
        """Delete what fills it."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount it."""
        if self._folder.is_mount():
            _run("umount", "--lazy", str(self._folder))


class Limit:
    """A limit on the size of the files that a process writes."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def open(self) -> None:
        """Do nothing: the disk is the machine's."""

    def fill(self) -> None:
        """Let no file grow further."""
        self._set(_LIMIT_BYTES)

    def empty(self) -> None:
        """Let files grow as far as they may."""
        self._set(resource.RLIM_INFINITY)

    def close(self) -> None:
        """Do nothing: the limit ends with the process."""

    def _set(self, most_bytes: int) -> None:
        _, hard = resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE)
        soft = hard if most_bytes == resource.RLIM_INFINITY else most_bytes
        resource.prlimit(self._server.pid, resource.RLIMIT_FSIZE, (soft, hard))


def _mountable() -> bool:
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "storm", "/mnt"],  # noqa: S607
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603
