"""Versions in a folder of this machine, or of a network disk that has rename and flock.

``<root>/<fleet>/versions/<version>/`` appears by one rename, with its files synced;
``<root>/<fleet>/latest`` is replaced likewise. Writers of one fleet take turns by a file
lock; readers need none.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from models_store import files
from models_store.errors import BrokenVersion, StoreNotWritable
from models_store.storage import NotStored

POINTER_FILE: Final = "latest"


class Folder:
    """Keep versions under one folder, made at the first publish."""

    local = True

    def __init__(self, root: Path) -> None:
        self._root = root

    def fleets(self) -> list[str]:
        """Name the folders of fleets."""
        if not self._root.is_dir():
            return []
        return [path.name for path in self._root.iterdir() if (path / "versions").is_dir()]

    def versions(self, fleet: str) -> list[str]:
        """Name the folders of versions."""
        folder = self._versions(fleet)
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def read(self, path: str) -> bytes:
        """Read a file."""
        try:
            return (self._root / path).read_bytes()
        except OSError as error:
            raise NotStored(error.strerror or str(error)) from error

    def pointer(self, fleet: str) -> bytes | None:
        """Read the pointer."""
        path = self._root / fleet / POINTER_FILE
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BrokenVersion(str(path), error.strerror or str(error)) from error

    def place(self, fleet: str, version: str, files_of: Mapping[str, bytes]) -> bool:
        """Write a version beside its place and rename it there; the caller has the turn."""
        path = self._versions(fleet) / version
        if path.exists():
            return False
        temporary = path.with_name(f".{version}.tmp")
        temporary.mkdir()
        try:
            for name, data in files_of.items():
                files.write_synced(temporary / name, data)
            files.sync_folder(temporary)
            temporary.rename(path)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)  # it may be what fills the disk
            raise
        files.sync_folder(path.parent)
        return True

    def update(self, fleet: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the pointer while no other writer of the fleet does anything."""
        with self._writing(fleet):
            text = change(self.pointer(fleet))
            if text is not None:
                files.replace(self._root / fleet / POINTER_FILE, text)

    def remove(self, fleet: str, versions: Sequence[str]) -> None:
        """Delete versions, and what crashes in the middle of a publish have left.

        What another process has deleted since they were listed is no longer there to delete.
        """
        if not self._versions(fleet).is_dir():
            return
        with self._writing(fleet):
            for name in versions:
                with suppress(FileNotFoundError):
                    shutil.rmtree(self._versions(fleet) / name)
            for leftover in self._versions(fleet).glob(".*.tmp"):
                shutil.rmtree(leftover)
            for leftover in (self._root / fleet).glob(".*.tmp"):
                leftover.unlink()

    def where(self, path: str) -> str:
        """Give the path."""
        return str(self._root / path)

    def _versions(self, fleet: str) -> Path:
        return self._root / fleet / "versions"

    @contextmanager
    def _writing(self, fleet: str) -> Iterator[None]:
        """Let one writer at a time in, across processes; the kernel frees the dead's turn."""
        folder = self._root / fleet
        try:
            (folder / "versions").mkdir(parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StoreNotWritable(str(folder), error.strerror or str(error)) from error
