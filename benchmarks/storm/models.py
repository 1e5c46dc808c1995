"""Wrong versions in a store that a router watches, put there as a broken writer would.

A version never changes once it is there, so a wrong one is a version of its own, pointed at
with the writers' lock held. Called by the faults.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import quote

from benchmarks.storm.errors import NotBack
from benchmarks.storm.mix import MODEL
from models_store import Manifest, ModelsStore, ModelsStoreError
from models_store.manifest import encode, version_name

_POINTER: Final = "latest"
_PATIENCE_S: Final = 60.0

Make = Callable[[bytes, Manifest], tuple[bytes, Manifest]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """Hold a wrong version.

    Attributes:
        store: Where it is.
        version: Its name.
        before: The one that was in use.
    """

    store: ModelsStore
    version: str
    before: str

    def in_use(self) -> bool:
        """Tell whether the store still names it."""
        try:
            return self.store.latest(MODEL) == self.version
        except ModelsStoreError:
            return False


def truncated(data: bytes, manifest: Manifest) -> tuple[bytes, Manifest]:
    """Let the file end in the middle."""
    return data[: len(data) // 2], manifest


def foreign(data: bytes, manifest: Manifest) -> tuple[bytes, Manifest]:
    """Let the numbers mean something else."""
    return data, replace(manifest, schema_hash="of another release")


async def put_wrong(root: Path, make: Make) -> Wrong:
    """Put a wrong version in use; a right one must be there, or come.

    Raises:
        NotBack: None comes.
    """
    store = ModelsStore(root)
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + _PATIENCE_S
    while loop.time() < deadline_s:
        wrong = await asyncio.to_thread(_put, root, store, make)
        if wrong is not None:
            return wrong
        await asyncio.sleep(0.5)
    raise NotBack("no model was ever published")


def put_right(wrong: Wrong) -> None:
    """Put the version before in use again, unless a later one is."""
    if wrong.in_use():
        wrong.store.promote(MODEL, wrong.before)


def _put(root: Path, store: ModelsStore, make: Make) -> Wrong | None:
    try:
        data, manifest = store.load(MODEL)
    except ModelsStoreError:
        return None
    folder = root / quote(MODEL, safe="")
    name = version_name(os.stat(folder).st_mtime, f"{os.urandom(4).hex()}")  # noqa: PTH116
    data, manifest = make(data, replace(manifest, version=name, parent=manifest.version))
    path = folder / "versions" / name
    with _writing(folder):
        path.mkdir()
        (path / "model.json").write_bytes(data)
        (path / "manifest.json").write_bytes(encode(manifest))
        names = (folder / _POINTER).read_text().split()
        temporary = folder / f".{_POINTER}.storm.tmp"
        temporary.write_text("\n".join([name, *names]) + "\n")
        temporary.replace(folder / _POINTER)
    return Wrong(store=store, version=name, before=names[0])


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
