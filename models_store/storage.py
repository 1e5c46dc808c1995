"""What a place must be able to do to hold versions: a folder does, and so does a bucket.

:mod:`models_store.store` decides everything else: names, manifests, checks, and what is
in use. Fleets come as the names of their folders, paths are relative and have slashes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol


class NotStored(Exception):
    """There is no such file; never leaves the store.

    Attributes:
        reason: What the place said.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Storage(Protocol):
    """Keep the files of one store; many processes may use it at once.

    Attributes:
        local: Whether asking takes no network, so that whoever must not wait may ask.
    """

    local: bool

    def fleets(self) -> list[str]:
        """Name the folders of fleets."""
        ...

    def versions(self, fleet: str) -> list[str]:
        """Name what is stored of a fleet as a whole, in no order."""
        ...

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            NotStored: There is none, or it cannot be read.
            StoreUnreachable: Nobody answers.
        """
        ...

    def pointer(self, fleet: str) -> bytes | None:
        """Read what :meth:`update` wrote last, ``None`` before it first did."""
        ...

    def place(self, fleet: str, version: str, files: Mapping[str, bytes]) -> bool:
        """Let a version appear, all its files at once; false where that name is taken.

        The last of the files tells of the others: where files appear one by one, it is
        the last.
        """
        ...

    def update(self, fleet: str, change: Callable[[bytes | None], bytes | None]) -> None:
        """Replace the pointer by what a function of it gives; ``None`` leaves it.

        Writers take turns: no change is lost. Where others came first the function is
        asked again.

        Raises:
            StoreNotWritable: It stays as it was.
        """
        ...

    def remove(self, fleet: str, versions: Sequence[str]) -> None:
        """Delete versions, and what writers that died have left behind."""
        ...

    def where(self, path: str) -> str:
        """Name a file for people; holds no secrets."""
        ...
