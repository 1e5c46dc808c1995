"""What values are made of in the compiled build, in place of :mod:`predictor.values`.

The build writes a constructor into every value (hatch_build.py), so that each is a native
class: compiled code reads a field in a few instructions, where it asks a struct by name.
"""

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr  # noqa: TC004  # the compiler reads it, nothing runs it


@mypyc_attr(acyclic=True)
class Value:
    """Be equal, shown and changed as a msgspec struct is."""

    def fields(self) -> dict[str, object]:
        """Give the fields by name; the build writes it, as it does the constructor."""
        return {}

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return self is other or self.fields() == other.fields()

    def __hash__(self) -> int:
        return hash(tuple(self.fields().values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.fields().items())
        return f"{type(self).__name__}({shown})"


_V = TypeVar("_V", bound=Value)


def replace(value: _V, **changes: object) -> _V:
    """Make another of the same kind, with some fields changed."""
    return type(value)(**{**value.fields(), **changes})
