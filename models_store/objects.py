"""Versions in an object store, through fsspec: S3, Google Cloud Storage, and what is like them.

Objects appear whole or not at all, one by one. A version is there once its manifest is,
which is written last. The pointer is a series of numbered objects, ``latest/<number>``, of
which the highest counts: whoever changes it makes the next number, which succeeds for one
of several (``If-None-Match: *`` on S3, ``ifGenerationMatch=0`` on GCS; fsspec's mode
``create``), and the others look again. That takes no lock that a dead writer could hold,
and nothing but what every such store and fsspec know.

Every call is bounded in time and tried again a few times; it may still take seconds, so no
event loop may make one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import fsspec
from fsspec.asyn import AsyncFileSystem

from models_store.errors import ModelsStoreError, StoreNotWritable, StoreUnreachable
from models_store.manifest import MANIFEST_FILE, created_of, is_version_name
from models_store.place import shown
from models_store.storage import NotStored

_POINTERS: Final = "latest"
_DIGITS: Final = 12
_KEPT_POINTERS: Final = 10
"""Older ones are deleted; a reader has found out which is the newest and reads it by then."""
_TRIES: Final = 3
_WAIT_S: Final = 0.2  # before the second try, twice that before the third
_CALL_S: Final = 10.0  # longest that one try takes
_TURNS: Final = 20
"""Changes by others that one change is made anew for; there are a handful of writers."""
_LEFT: Final = timedelta(hours=1)
"""A version without a manifest that is so much older than another was given up."""
_OPTIONS: Final[Mapping[str, dict[str, object]]] = {
    "s3": {
        "config_kwargs": {"connect_timeout": 3, "read_timeout": 8, "retries": {"max_attempts": 0}}
    }
}

T = TypeVar("T")


class Objects:
    """Keep versions below a URL.

    Raises:
        ImportError: The package for such URLs is not installed.
        ValueError: fsspec knows none.
    """

    local = False

    def __init__(self, url: str) -> None:
        self._url = shown(url).rstrip("/")
        scheme = url.partition("://")[0].replace("s3a", "s3")
        # Any: fsspec ships no types.
        self._files: Any = fsspec.filesystem(
            scheme, use_listings_cache=False, skip_instance_cache=scheme != "memory",
            **_OPTIONS.get(scheme, {}),
        )  # fmt: skip
        self._files.retries = 1  # ours are bounded in time
        self._bounds = {"timeout": _CALL_S} if isinstance(self._files, AsyncFileSystem) else {}
        self._root = str(self._files._strip_protocol(url)).rstrip("/")  # noqa: SLF001  # as fsspec's own callers do

    def fleets(self) -> list[str]:
        """Name the folders of fleets."""
        return self._names("")

    def versions(self, fleet: str) -> list[str]:
        """Name the versions whose manifest is there."""
        return [version for version, name in self._objects(fleet) if name == MANIFEST_FILE]

    def read(self, path: str) -> bytes:
        """Read an object."""
        data = self._asked(
            path, lambda: self._files.cat_file(f"{self._root}/{path}", **self._bounds)
        )
        if data is None:
            raise NotStored("there is no such object")
        return bytes(data)

    def pointer(self, fleet: str) -> bytes | None:
        """Read the pointer of the highest number."""
        return self._newest(fleet)[1]

    def place(self, fleet: str, version: str, files: Mapping[str, bytes]) -> bool:
        """Write a version's objects in their order."""
        return all(
            self._create(f"{fleet}/versions/{version}/{name}", data) for name, data in files.items()
        )

    def update(self, fleet: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Make the next pointer of what is in the newest; anew where another was faster."""
        for _ in range(_TURNS):
            number, text = self._newest(fleet)
            changed = change(text)
            if changed is None:
                return
            path = _pointer(fleet, number + 1)
            if self._create(path, changed) and self._was_next(fleet, number):
                self._forget(fleet)
                return
        raise StoreNotWritable(self.where(fleet), "others keep changing it")

    def remove(self, fleet: str, versions: Sequence[str]) -> None:
        """Delete versions, their manifests first, and what others gave up."""
        there = self._objects(fleet)
        whole = {version for version, name in there if name == MANIFEST_FILE}
        newest = max(map(created_of, whole), default=datetime.min.replace(tzinfo=UTC))
        left = {version for version, _ in there if version not in whole}
        doomed = {*versions, *(name for name in left if created_of(name) < newest - _LEFT)}
        for version, name in sorted(there, key=lambda entry: entry[1] != MANIFEST_FILE):
            if version in doomed:
                self._delete(f"{fleet}/versions/{version}/{name}")

    def where(self, path: str) -> str:
        """Give the URL."""
        return f"{self._url}/{path}"

    def _newest(self, fleet: str) -> tuple[int, bytes | None]:
        """Give the highest number, 0 without one, and what it says."""
        for _ in range(_TRIES):  # that many times another writer deletes it meanwhile
            numbers = self._numbers(fleet)
            if not numbers:
                return 0, None
            try:
                return numbers[-1], self.read(_pointer(fleet, numbers[-1]))
            except NotStored:
                continue
        raise StoreUnreachable(self.where(f"{fleet}/{_POINTERS}"), "lists what is not there")

    def _numbers(self, fleet: str) -> list[int]:
        names = self._names(f"{fleet}/{_POINTERS}")
        return sorted(int(name) for name in names if name.isdecimal())

    def _was_next(self, fleet: str, number: int) -> bool:
        """Tell, of a pointer just made after ``number``, that there never was one of its name.

        Pointers are deleted in their order: while the one before is there, so is any that
        ever followed it. A writer that slept for long finds it gone, and looks again.
        """
        numbers = self._numbers(fleet)
        return number in numbers if number else numbers[-1] <= _KEPT_POINTERS

    def _forget(self, fleet: str) -> None:
        """Delete old pointers, the oldest first; that it fails harms nobody."""
        try:
            numbers = self._numbers(fleet)
            for number in numbers:
                if number <= numbers[-1] - _KEPT_POINTERS:
                    self._delete(_pointer(fleet, number))
        except ModelsStoreError:
            return

    def _names(self, folder: str) -> list[str]:
        """Name what is directly below a folder."""
        path = f"{self._root}/{folder}".rstrip("/")
        found = self._asked(folder, lambda: self._files.ls(path, detail=False, **self._bounds))
        return [str(name).rstrip("/").rpartition("/")[2] for name in found or ()]

    def _objects(self, fleet: str) -> list[tuple[str, str]]:
        """Give version and name of every object below a fleet's versions."""
        folder = f"{fleet}/versions"
        path = f"{self._root}/{folder}"
        found = self._asked(folder, lambda: self._files.find(path, **self._bounds))
        parts = [str(name).rsplit("/", 2)[1:] for name in found or ()]
        return [(version, name) for version, name in parts if is_version_name(version)]

    def _create(self, path: str, data: bytes) -> bool:
        """Write an object that is not there yet; false where it holds something else."""
        full = f"{self._root}/{path}"

        def write() -> None:
            self._files.pipe_file(full, data, mode="create", **self._bounds)

        try:
            _tried(write)
        except FileExistsError:  # perhaps by the try before, whose answer was lost
            return self.read(path) == data
        except FileNotFoundError as error:
            raise StoreNotWritable(self.where(path), "there is no such bucket") from error
        except _Failed as error:
            raise StoreNotWritable(self.where(path), error.reason) from error.__cause__
        return True

    def _delete(self, path: str) -> None:
        full = f"{self._root}/{path}"
        try:
            _tried(lambda: self._files.rm_file(full, **self._bounds))
        except FileNotFoundError:
            return  # by another
        except _Failed as error:
            raise StoreNotWritable(self.where(path), error.reason) from error.__cause__

    def _asked(self, path: str, call: Callable[[], T]) -> T | None:
        """Ask something; ``None`` where there is no such thing."""
        try:
            return _tried(call)
        except FileNotFoundError:
            return None
        except _Failed as error:
            raise StoreUnreachable(self.where(path), error.reason) from error.__cause__


class _Failed(Exception):
    """Every try failed; ``__cause__`` is what the last one raised."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _tried(call: Callable[[], T]) -> T:
    """Call, and again where that may help.

    Raises:
        FileExistsError: It is there.
        FileNotFoundError: It is not there.
        _Failed: Anything else, named by its class: messages of clients hold what differs
            each time, and now and then a signature.
    """
    for tried in range(1, _TRIES + 1):
        try:
            return call()
        except (FileExistsError, FileNotFoundError):
            raise
        except PermissionError as error:
            raise _Failed("not permitted with the keys in the environment") from error
        except Exception as error:  # every client has classes of its own
            if tried == _TRIES:
                raise _Failed(f"no answer ({type(error).__name__})") from error
        time.sleep(_WAIT_S * tried)
    raise AssertionError  # the last try returns or raises


def _pointer(fleet: str, number: int) -> str:
    return f"{fleet}/{_POINTERS}/{number:0{_DIGITS}}"
