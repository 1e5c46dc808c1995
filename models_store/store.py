"""All that is done with versions: publish, load, promote, roll back, verify, prune.

``<fleet>/versions/<version>/{model.json, manifest.json}`` never change once there; the
pointer names the version in use and, below it, those in use before. Where they are kept,
and how a version appears there all at once, is a :class:`Storage`'s business: a folder's
or a bucket's. Writers of one fleet take turns, readers need none. Called by the trainer
(publish), the server (latest, load) and the command line.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from models_store.errors import (
    BrokenVersion,
    FleetNameInvalid,
    NothingToRollBack,
    SchemaMismatch,
    UnknownVersion,
)
from models_store.folder import POINTER_FILE
from models_store.manifest import (
    MANIFEST_FILE,
    Manifest,
    decode,
    encode,
    is_version_name,
    version_name,
)
from models_store.place import Place, open_storage
from models_store.pointer import Pointer
from models_store.pointer import decode as decode_pointer
from models_store.storage import NotStored

MODEL_FILE: Final = "model.json"
_NAME_BYTES: Final = 255  # longest file name of common file systems


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Name a file that is wrong and say why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ModelsStore:
    """Keep model versions of every fleet at one place.

    Args:
        place: A folder, made at the first publish, or the URL of a bucket and a path in it.

    Raises:
        StoreUnusable: No versions can be kept there.
    """

    def __init__(self, place: Place) -> None:
        self._storage = open_storage(place)

    @property
    def local(self) -> bool:
        """Tell whether asking takes no network: an event loop may do so."""
        return self._storage.local

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
            StoreNotWritable: The disk or the bucket refused; the version in use stays as it was.
        """
        folder, sha256 = self._folder(fleet), hashlib.sha256(data).hexdigest()
        manifest = Manifest(
            version=version_name(now, sha256),
            fleet=fleet,
            created=datetime.fromtimestamp(now, tz=UTC).isoformat(),
            schema_hash=schema_hash,
            sha256=sha256,
            size_bytes=len(data),
            model_format=model_format,
            rows=rows,
            window_start_s=window_start_s,
            window_end_s=window_end_s,
            metrics=dict(metrics or {}),
        )
        placed: list[str] = []

        def use_it(pointer: Pointer) -> Pointer:
            if not placed:  # asked again where another writer was faster
                child = replace(manifest, parent=pointer.in_use)
                placed.append(self._place(folder, child, data, now))
            return pointer.using(placed[0])

        self._change(fleet, use_it, mend=True)
        return placed[0]

    def latest(self, fleet: str) -> str | None:
        """Name the version in use, ``None`` when there is none.

        Raises:
            BrokenVersion: The pointer is not one of ours or names a version that is gone.
            StoreUnreachable: Nobody answers, here as in all that reads.
        """
        version = self._pointer(fleet).in_use
        if version is not None and version not in self.versions(fleet):
            raise BrokenVersion(
                self._where(fleet, POINTER_FILE), f"names version {version}, which is not there"
            )
        return version

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
        data = self._read(fleet, manifest.version, MODEL_FILE)
        reason = None
        if len(data) != manifest.size_bytes:
            reason = f"has {len(data)} bytes, the manifest says {manifest.size_bytes}"
        elif hashlib.sha256(data).hexdigest() != manifest.sha256:
            reason = "its checksum differs from the manifest's"
        if reason is not None:
            raise BrokenVersion(self._where(fleet, manifest.version, MODEL_FILE), reason)
        return data, manifest

    def manifest(self, fleet: str, version: str | None = None) -> Manifest:
        """Read a version's manifest, the one in use by default.

        Raises:
            UnknownVersion: There is none such.
            BrokenVersion: The manifest is damaged or belongs to another version.
        """
        name = self.latest(fleet) if version is None else version
        if name is None or not is_version_name(name):
            raise UnknownVersion(fleet, version)
        if version is not None and version not in self.versions(fleet):
            raise UnknownVersion(fleet, version)
        path = self._where(fleet, name, MANIFEST_FILE)
        try:
            manifest = decode(self._read(fleet, name, MANIFEST_FILE))
        except ValueError as error:
            raise BrokenVersion(path, str(error)) from error
        if (manifest.version, manifest.fleet) != (name, fleet):
            raise BrokenVersion(
                path, f"describes version {manifest.version} of fleet {manifest.fleet!r}"
            )
        return manifest

    def versions(self, fleet: str) -> list[str]:
        """Name all versions, oldest first."""
        return sorted(filter(is_version_name, self._storage.versions(self._folder(fleet))))

    def fleets(self) -> list[str]:
        """Name the fleets that have a folder here."""
        return sorted(map(unquote, self._storage.fleets()))

    def promote(self, fleet: str, version: str, *, schema_hash: str | None = None) -> None:
        """Put a version in use, after checking all that :meth:`load` checks."""
        self.load(fleet, version, schema_hash=schema_hash)

        def use_it(pointer: Pointer) -> Pointer:
            if version in pointer.doomed:
                raise UnknownVersion(fleet, version)
            return pointer.using(version)

        self._change(fleet, use_it, mend=True)

    def rollback(self, fleet: str, *, schema_hash: str | None = None) -> str:
        """Put the version in use before this one in use again; return its name.

        It is the one promoted or published before, as far as that is still there, else
        the parent of the one in use; checked as :meth:`load` does.

        Raises:
            NothingToRollBack: Neither is there.
        """
        if not self.versions(fleet):
            raise NothingToRollBack(fleet)

        def use_earlier(pointer: Pointer) -> Pointer:
            present = set(self.versions(fleet)) - pointer.doomed
            earlier = [name for name in pointer.history[1:] if name in present]
            if not earlier:
                earlier = [name for name in self._parent_in_use(fleet) if name in present]
            if not earlier:
                raise NothingToRollBack(fleet)
            self.load(fleet, earlier[0], schema_hash=schema_hash)
            return replace(pointer, history=tuple(earlier))

        return self._change(fleet, use_earlier).history[0]

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
        present = self.versions(fleet)
        doomed: list[str] = []
        if len(present) > max(keep, 1):

            def doom(pointer: Pointer) -> Pointer:
                doomed[:] = _longest_out_of_use(present, pointer, keep)
                return replace(pointer, doomed=frozenset(doomed))

            self._change(fleet, doom)
        self._storage.remove(self._folder(fleet), doomed)
        return doomed

    def _folder(self, fleet: str) -> str:
        name = quote(fleet, safe="")
        if name.startswith("."):  # quote leaves dots: no hidden folder, no way out
            name = "%2E" + name[1:]
        if not name or len(name) > _NAME_BYTES:
            raise FleetNameInvalid(fleet)
        return name

    def _path(self, fleet: str, *names: str) -> str:
        folder = self._folder(fleet)
        return "/".join((folder, "versions", *names) if len(names) > 1 else (folder, *names))

    def _where(self, fleet: str, *names: str) -> str:
        return self._storage.where(self._path(fleet, *names))

    def _read(self, fleet: str, version: str, name: str) -> bytes:
        try:
            return self._storage.read(self._path(fleet, version, name))
        except NotStored as error:
            raise BrokenVersion(self._where(fleet, version, name), error.reason) from error

    def _place(self, folder: str, manifest: Manifest, data: bytes, now: float) -> str:
        """Store a version under the first free name."""
        while True:
            files = {MODEL_FILE: data, MANIFEST_FILE: encode(manifest)}
            if self._storage.place(folder, manifest.version, files):
                return manifest.version
            now += 1e-6
            manifest = replace(manifest, version=version_name(now, manifest.sha256))

    def _pointer(self, fleet: str) -> Pointer:
        return self._decoded(fleet, self._storage.pointer(self._folder(fleet)))

    def _decoded(self, fleet: str, text: bytes | None) -> Pointer:
        try:
            return decode_pointer(text)
        except ValueError as error:
            raise BrokenVersion(self._where(fleet, POINTER_FILE), str(error)) from error

    def _change(
        self, fleet: str, change: Callable[[Pointer], Pointer], *, mend: bool = False
    ) -> Pointer:
        """Change what is in use in our turn; ``mend`` overwrites a pointer that is none."""
        done = Pointer()

        def step(text: bytes | None) -> bytes | None:
            nonlocal done
            try:
                before = self._decoded(fleet, text)
            except BrokenVersion:
                if not mend:
                    raise
                before = Pointer()
            done = change(before)
            written = done.encode()
            return None if written == text else written

        self._storage.update(self._folder(fleet), step)
        return done

    def _parent_in_use(self, fleet: str) -> list[str]:
        try:
            parent = self.manifest(fleet).parent
        except (BrokenVersion, UnknownVersion):
            return []  # the broken one is what is being rolled back
        return [] if parent is None else [parent]


def _longest_out_of_use(present: list[str], pointer: Pointer, keep: int) -> list[str]:
    """Name the versions to delete so that ``keep`` stay, of those ``present``.

    >>> names = [f"19700101T00000{n}.000000Z-01234567" for n in range(3)]
    >>> _longest_out_of_use(names, Pointer(history=(names[0], names[1])), 2) == [names[2]]
    True
    """
    history = pointer.history
    since = {name: -place for place, name in reversed(list(enumerate(history)))}
    by_use = sorted(present, key=lambda name: (since.get(name, -len(history)), name))
    doomed = [name for name in by_use if name != pointer.in_use]
    return doomed[: max(0, len(present) - max(keep, 1))]
