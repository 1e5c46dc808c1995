"""What values are made of in the compiled build, in place of :mod:`predictor.values`.

The build writes a constructor into every value (hatch_build.py), so that each is a native
class: compiled code reads a field in a few instructions, where it asks a struct by name.
"""

from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr


@mypyc_attr(acyclic=True)
class Value:
    """Be equal, shown and changed as a msgspec struct is."""

    __struct_fields__: ClassVar[tuple[str, ...]] = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._cells() == other._cells()

    def __hash__(self) -> int:
        return hash(self._cells())

    def __repr__(self) -> str:
        pairs = zip(self.__struct_fields__, self._cells(), strict=True)
        shown = ", ".join(f"{name}={cell!r}" for name, cell in pairs)
        return f"{type(self).__name__}({shown})"

    def _cells(self) -> tuple[object, ...]:
        return ()


_V = TypeVar("_V", bound=Value)


def replace(value: _V, **changes: object) -> _V:
    """Make another of the same kind, with some fields changed."""
    kept = dict(zip(value.__struct_fields__, value._cells(), strict=True))
    kept.update(changes)
    return type(value)(**kept)
