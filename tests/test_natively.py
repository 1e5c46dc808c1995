"""Constructors that the compiled build writes into values."""

import pytest

from scripts.natively import natively

MODULE = '''\
"""Say what this is.

At length.
"""

import msgspec

from predictor.values import Value


class Point(Value):
    """Hold a place.

    Attributes:
        x: Across.
    """

    x: int
    y: int = 0
    names: dict[str, int] = (
        msgspec.field(default_factory=dict)
    )

    def shifted(self, by: int) -> "Point":
        return Point(x=self.x + by)


class Pair(Value, kw_only=False):
    """Hold two."""

    one: str
    other: str | None = None


class Plain:
    """Be none."""

    x: int = 1
'''  # fmt: skip


class Native:
    """Stands for the base that values have in the compiled build."""


def made() -> dict[str, type]:
    known: dict[str, type] = {"Value": Native, "_mypyc_attr": lambda **_: lambda made: made}  # type: ignore[dict-item]
    lines = natively(MODULE, "points").replace("from predictor.values import Value", "")
    exec(lines, known)  # noqa: S102  # our own source
    return known


def test_fields_become_what_the_constructor_takes() -> None:
    known = made()

    point, other = known["Point"](x=1), known["Point"](x=2, y=3, names={"a": 1})

    assert point.fields() == {"x": 1, "y": 0, "names": {}}
    assert other.fields() == {"x": 2, "y": 3, "names": {"a": 1}}
    assert point.names is not known["Point"](x=1).names
    with pytest.raises(TypeError):
        known["Point"](1)


def test_by_position_where_the_class_says_so() -> None:
    assert made()["Pair"]("a", "b").fields() == {"one": "a", "other": "b"}


def test_every_other_line_stays_where_it_was() -> None:
    before, after = MODULE.splitlines(), natively(MODULE, "points").splitlines()

    assert len(after) == len(before)
    for line in ("        return Point(x=self.x + by)", "class Plain:", "    x: int = 1"):
        assert after.index(line) == before.index(line)


def test_a_module_without_values_is_left_alone() -> None:
    assert natively("class A:\n    x: int = 1\n", "a") == "class A:\n    x: int = 1\n"


def test_a_value_without_room_for_a_constructor_is_named() -> None:
    bare = '"""Say."""\n\nx = 1\n\n\nclass A(Value):\n    x: int\n'

    with pytest.raises(ValueError, match=r"somewhere: line 7"):
        natively(bare, "somewhere")


@pytest.mark.parametrize("default", ["None", "NOTHING", "('a', (1, NOTHING))", "frozenset()"])
def test_what_cannot_change_is_a_default(default: str) -> None:
    written = natively(MODULE.replace("y: int = 0", f"y: int = {default}"), "points")

    assert f"y: int = {default}, names" in written


@pytest.mark.parametrize(
    ("line", "instead", "problem"),
    [
        ("class Pair(Value, kw_only=False)", "@final\nclass Pair(Value)", "line 29: a value says"),
        ("class Pair(Value, kw_only=False)", "class Pair(Value, kw_only=True)", "line 28: a value"),
        ("class Point(Value)", "class Point(Value, Mixin)", "line 11: a value says"),
        ("class Point(Value)", "class Point(values.Value)", "line 11: a value says"),
        ("y: int = 0", "y: list[int] = []", "line 19: values would share"),
        ("y: int = 0", "y: tuple[list[int]] = ([],)", "line 19: values would share"),
        ("msgspec.field(default_factory=dict)", "field(default_factory=dict)", "line 20: values"),
        ("msgspec.field(default_factory=dict)", "msgspec.field(default=0)", "line 20: values"),
        ("class Plain", "class Plain(Point)", "line 35: derives from a value"),
        ("class Plain", "class Plain(Struct, frozen=True)", "line 35: mypyc drops the keywords"),
    ],
)
def test_what_compiled_code_would_take_in_another_way_is_named(
    line: str, instead: str, problem: str
) -> None:
    assert line in MODULE

    with pytest.raises(ValueError, match=problem):
        natively(MODULE.replace(line, instead), "somewhere")


def test_a_value_that_ends_with_its_docstring_is_named() -> None:
    with pytest.raises(ValueError, match="line 4: no docstring"):
        natively('"""Say."""\n\nclass A(Value):\n    """Say."""', "somewhere")
