"""The small file that says which version is in use, and which were before it.

One name a line: the version in use, below it those in use before, and behind a minus
those that are being deleted, which nobody may put in use any more. Whoever deletes writes
that here first: like every change of the pointer it takes its turn.
"""

from dataclasses import dataclass
from typing import Final

from models_store.manifest import is_version_name

_HISTORY: Final = 100  # versions once in use that are remembered
_DOOMED: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Hold what the file says.

    Attributes:
        history: The version in use, then those before it; empty before the first.
        doomed: Versions that are being deleted.
    """

    history: tuple[str, ...] = ()
    doomed: frozenset[str] = frozenset()

    @property
    def in_use(self) -> str | None:
        """Name the version in use."""
        return self.history[0] if self.history else None

    def using(self, version: str) -> "Pointer":
        """Put a version in use."""
        if version == self.in_use:
            return self
        return Pointer(history=(version, *self.history)[:_HISTORY], doomed=self.doomed)

    def encode(self) -> bytes:
        """Write it."""
        lines = [*self.history, *(_DOOMED + name for name in sorted(self.doomed))]
        return ("\n".join(lines) + "\n").encode()


def decode(text: bytes | None) -> Pointer:
    """Read it back; nothing is no version in use.

    Raises:
        ValueError: It is none.

    >>> name = "19700101T000000.250000Z-01234567"
    >>> decode(Pointer(history=(name,)).encode()).in_use == name
    True
    """
    if text is None:
        return Pointer()
    names = text.decode("utf-8", errors="replace").split()
    doomed = {name.removeprefix(_DOOMED) for name in names if name.startswith(_DOOMED)}
    history = [name for name in names if not name.startswith(_DOOMED)]
    if not names or not all(map(is_version_name, (*history, *doomed))):
        raise ValueError("is not a list of version names")
    return Pointer(history=tuple(history), doomed=frozenset(doomed))
