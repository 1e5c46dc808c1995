"""The folder of versions: publish, load, promote, roll back, verify, prune.

``<root>/<fleet>/versions/<version>/{model.json, manifest.json}`` never change once
there; ``<root>/<fleet>/latest`` names the version in use on its first line and, below
it, those in use before. A version appears by one rename, with both its files synced;
writers of one fleet take turns by a file lock, readers need none. Called by the
trainer (publish), the server (latest, load) and the command line.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from models_store import files
from models_store.errors import (
    BrokenVersion,
    FleetNameInvalid,
    NothingToRollBack,
    SchemaMismatch,
    StoreNotWritable,
    UnknownVersion,
)
from models_store.manifest import Manifest, decode, encode, is_version_name, version_name

MODEL_FILE: Final = "model.json"
MANIFEST_FILE: Final = "manifest.json"
POINTER_FILE: Final = "latest"
_HISTORY: Final = 100  # versions once in use that the pointer remembers
_NAME_BYTES: Final = 255  # longest file name of common file systems


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Name a file that is wrong and say why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ModelsStore:
    """Keep model versions of every fleet under one folder.

    Args:
        root: The folder; made at the first publish.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def publish(
        self,
        fleet: str,
        data: bytes,
        *,
        schema_hash: str,
        model_format: str,
        now: float,
        rows: int | None = None,
        window_start_s: float | None = None,
        window_end_s: float | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> str:
        """Store a version and put it in use; return its name.

        Args:
            fleet: Base model it predicts for.
            data: The model in its own text format.
            schema_hash: What its numbers mean: the caller's model schema.
            model_format: Name of the encoding of ``data``.
            now: Epoch seconds.
            rows: Observations it was trained on.
            window_start_s: Epoch seconds of the oldest of them.
            window_end_s: Epoch seconds of the newest of them.
            metrics: Evaluation results by name.

        Raises:
            StoreNotWritable: The disk refused; the version in use stays as it was.
        """
        folder = self._folder(fleet)
        sha256 = hashlib.sha256(data).hexdigest()
        with _writing(folder):
            history = self._history_if_whole(fleet)
            manifest = Manifest(
                version=self._free_name(fleet, now, sha256),
                fleet=fleet,
                created=datetime.fromtimestamp(now, tz=UTC).isoformat(),
                schema_hash=schema_hash,
                sha256=sha256,
                size_bytes=len(data),
                model_format=model_format,
                parent=history[0] if history else None,
                rows=rows,
                window_start_s=window_start_s,
                window_end_s=window_end_s,
                metrics=dict(metrics or {}),
            )
            self._place(manifest, data)
            self._point(fleet, [manifest.version, *history])
        return manifest.version

    def latest(self, fleet: str) -> str | None:
        """Name the version in use, ``None`` when there is none.

        Raises:
            BrokenVersion: The pointer is not one of ours or names a version that is gone.
        """
        history = self._history(fleet)
        if not history:
            return None
        if not self._path(fleet, history[0]).is_dir():
            pointer = self._folder(fleet) / POINTER_FILE
            raise BrokenVersion(pointer, f"names version {history[0]}, which is not there")
        return history[0]

    def load(
        self, fleet: str, version: str | None = None, *, schema_hash: str | None = None
    ) -> tuple[bytes, Manifest]:
        """Read a version, the one in use by default, and check every byte of it.

        Args:
            fleet: Whose.
            version: Which; ``None`` for the one in use.
            schema_hash: Model schema of the caller; another one is refused.

        Raises:
            UnknownVersion: There is none such.
            BrokenVersion: A file is damaged.
            SchemaMismatch: Of another model schema.
        """
        manifest = self.manifest(fleet, version)
        if schema_hash is not None and manifest.schema_hash != schema_hash:
            raise SchemaMismatch(
                version=manifest.version, stored=manifest.schema_hash, wanted=schema_hash
            )
        path = self._path(fleet, manifest.version) / MODEL_FILE
        data = _read(path)
        if len(data) != manifest.size_bytes:
            reason = f"has {len(data)} bytes, the manifest says {manifest.size_bytes}"
            raise BrokenVersion(path, reason)
        if hashlib.sha256(data).hexdigest() != manifest.sha256:
            raise BrokenVersion(path, "its checksum differs from the manifest's")
        return data, manifest

    def manifest(self, fleet: str, version: str | None = None) -> Manifest:
        """Read a version's manifest, the one in use by default.

        Raises:
            UnknownVersion: There is none such.
            BrokenVersion: The manifest is damaged or belongs to another version.
        """
        name = self.latest(fleet) if version is None else version
        if name is None or name not in self.versions(fleet):
            raise UnknownVersion(fleet, version)
        path = self._path(fleet, name) / MANIFEST_FILE
        try:
            manifest = decode(_read(path))
        except ValueError as error:
            raise BrokenVersion(path, str(error)) from error
        if (manifest.version, manifest.fleet) != (name, fleet):
            raise BrokenVersion(
                path, f"describes version {manifest.version} of fleet {manifest.fleet!r}"
            )
        return manifest

    def versions(self, fleet: str) -> list[str]:
        """Name all versions, oldest first."""
        folder = self._folder(fleet) / "versions"
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if is_version_name(path.name))

    def fleets(self) -> list[str]:
        """Name the fleets that have a folder here."""
        if not self._root.is_dir():
            return []
        return sorted(
            unquote(path.name) for path in self._root.iterdir() if (path / "versions").is_dir()
        )

    def promote(self, fleet: str, version: str, *, schema_hash: str | None = None) -> None:
        """Put a version in use, after checking all that :meth:`load` checks."""
        self.load(fleet, version, schema_hash=schema_hash)
        with _writing(self._folder(fleet)):
            history = self._history_if_whole(fleet)
            if history[:1] != [version]:
                self._point(fleet, [version, *history])

    def rollback(self, fleet: str, *, schema_hash: str | None = None) -> str:
        """Put the version in use before this one in use again; return its name.

        It is the one promoted or published before, as far as that is still there, else
        the parent of the one in use; checked as :meth:`load` does.

        Raises:
            NothingToRollBack: Neither is there.
        """
        if not self.versions(fleet):
            raise NothingToRollBack(fleet)
        with _writing(self._folder(fleet)):
            history = self._history(fleet)
            present = set(self.versions(fleet))
            earlier = [name for name in history[1:] if name in present]
            if not earlier:
                earlier = [name for name in self._parent_in_use(fleet) if name in present]
            if not earlier:
                raise NothingToRollBack(fleet)
            self.load(fleet, earlier[0], schema_hash=schema_hash)
            self._point(fleet, earlier)
        return earlier[0]

    def verify(self, fleet: str) -> list[Problem]:
        """Check every byte of every version and the pointer; an empty list is good news."""
        problems = []
        for version in [*self.versions(fleet), None]:
            try:
                self.load(fleet, version)
            except BrokenVersion as error:
                problem = Problem(path=error.path, reason=error.reason)
                if problem not in problems:
                    problems.append(problem)
            except UnknownVersion:
                continue  # nothing in use is a state, not damage
        return problems

    def prune(self, fleet: str, keep: int) -> list[str]:
        """Delete the versions longest out of use beyond ``keep``; name them.

        The one in use stays; those that never were go first, by age. Also removes what a
        crash in the middle of a publish has left.
        """
        folder = self._folder(fleet)
        if not folder.is_dir():
            return []
        with _writing(folder):
            history = self._history(fleet)
            since = {name: -place for place, name in reversed(list(enumerate(history)))}
            present = sorted(
                self.versions(fleet), key=lambda name: (since.get(name, -len(history)), name)
            )
            doomed = [name for name in present if name not in history[:1]]
            doomed = doomed[: max(0, len(present) - max(keep, 1))]
            for name in doomed:
                shutil.rmtree(self._path(fleet, name))
            for leftover in (folder / "versions").glob(".*.tmp"):
                shutil.rmtree(leftover)
            for leftover in folder.glob(".*.tmp"):
                leftover.unlink()
        return doomed

    def _folder(self, fleet: str) -> Path:
        name = quote(fleet, safe="")
        if name.startswith("."):  # quote leaves dots: no hidden folder, no way out
            name = "%2E" + name[1:]
        if not name or len(name) > _NAME_BYTES:
            raise FleetNameInvalid(fleet)
        return self._root / name

    def _path(self, fleet: str, version: str) -> Path:
        return self._folder(fleet) / "versions" / version

    def _free_name(self, fleet: str, now: float, sha256: str) -> str:
        name = version_name(now, sha256)
        while self._path(fleet, name).exists():
            now += 1e-6
            name = version_name(now, sha256)
        return name

    def _place(self, manifest: Manifest, data: bytes) -> None:
        path = self._path(manifest.fleet, manifest.version)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.mkdir()
        try:
            files.write_synced(temporary / MODEL_FILE, data)
            files.write_synced(temporary / MANIFEST_FILE, encode(manifest))
            files.sync_folder(temporary)
            temporary.rename(path)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)  # it may be what fills the disk
            raise
        files.sync_folder(path.parent)

    def _history(self, fleet: str) -> list[str]:
        path = self._folder(fleet) / POINTER_FILE
        if not path.exists():
            return []
        names = _read(path).decode("utf-8", errors="replace").split()
        if not names or not all(is_version_name(name) for name in names):
            raise BrokenVersion(path, "is not a list of version names")
        return names

    def _history_if_whole(self, fleet: str) -> list[str]:
        try:
            return self._history(fleet)
        except BrokenVersion:
            return []  # what is written next repairs the pointer

    def _point(self, fleet: str, history: list[str]) -> None:
        text = "\n".join(history[:_HISTORY]) + "\n"
        files.replace(self._folder(fleet) / POINTER_FILE, text.encode())

    def _parent_in_use(self, fleet: str) -> list[str]:
        try:
            parent = self.manifest(fleet).parent
        except (BrokenVersion, UnknownVersion):
            return []  # the broken one is what is being rolled back
        return [] if parent is None else [parent]


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Let one writer of a fleet at a time in, across processes; the kernel frees the dead's."""
    try:
        (folder / "versions").mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreNotWritable(folder, error.strerror or str(error)) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenVersion(path, error.strerror or str(error)) from error
