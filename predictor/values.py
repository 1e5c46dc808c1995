"""What values that come once a request are made of.

Here they are msgspec structs, which take their configuration from this base. The compiled
build (docs/decisions/compiled.md) has scripts/native_values.py in this module's place and
writes a constructor into each value (scripts/natively.py): it is then a native class, which
the type checker alone keeps from being changed. Structs that are read from JSON need class
keywords, which mypyc drops, and stay in modules that are not compiled.
"""

from typing import TypeVar, dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, gc=False):
    """Be immutable; fields without a default come first, and are given by name.

    A class that says ``kw_only=False`` lets them be given by position; msgspec lets all, the
    type checker and the compiled build do not. The garbage collector passes values over: what
    never changes is in no cycle of its own making.

    >>> class Point(Value):
    ...     x: int
    ...     y: int = 0
    >>> Point(x=1)
    Point(x=1, y=0)
    """


_V = TypeVar("_V", bound=Value)


def replace(value: _V, **changes: object) -> _V:
    """Make another of the same kind, with some fields changed.

    >>> class Point(Value):
    ...     x: int
    ...     y: int = 0
    >>> replace(Point(x=1), y=2)
    Point(x=1, y=2)
    """
    return msgspec.structs.replace(value, **changes)
