"""Where in a TOML file a setting stands: the standard library's parser does not tell.

Reads only as much of TOML as it takes to find tables and keys at the beginning of lines;
what it does not find (a key of an inline table) is where the thing around it is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

Key = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\]]+?)\s*\]")
_PAIR: Final = re.compile(
    r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART: Final = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_STRING: Final = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*\'""")


def line_of(lines: Mapping[Key, int], path: Sequence[str | int]) -> int | None:
    r"""Give the line of a setting, or of the innermost table around it; ``None`` if unknown.

    Args:
        lines: What :func:`key_lines` found.
        path: Its keys; such that stand in no line are passed over.

    >>> line_of(key_lines("[proxy]\nport = 1\n"), ("proxy", "port"))
    2
    """
    found: Key = ()
    for part in path:
        if (*found, part) in lines:
            found = (*found, part)
    return lines.get(found)


def key_lines(text: str) -> dict[Key, int]:
    r"""Find the line, from 1, in which each table and key first stands.

    >>> key_lines("a = 1\n[[b]]\nc.d = 2\n")
    {('a',): 1, ('b',): 2, ('b', 0): 2, ('b', 0, 'c'): 3, ('b', 0, 'c', 'd'): 3}
    """
    lines: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    inside = ""  # what ends the value that spans lines, empty outside of one
    for number, line in enumerate(text.split("\n"), start=1):
        if inside:
            inside = _still_inside(line, inside)
            continue
        if header := _HEADER.match(line):
            table = _table(_parts(header[2]), counts, another=header[1] == "[[")
            _note(lines, table, number)
        elif pair := _PAIR.match(line):
            _note(lines, (*table, *_parts(pair[1])), number)
            inside = _opened(line[pair.end() :])
    return lines


def _table(names: list[str], counts: dict[Key, int], *, another: bool) -> Key:
    """Give a table's path with the numbers of the arrays of tables it lies in."""
    path: Key = ()
    for index, name in enumerate(names):
        path = (*path, name)
        if another and index == len(names) - 1:
            counts[path] = counts.get(path, 0) + 1
        if path in counts:
            path = (*path, counts[path] - 1)
    return path


def _note(lines: dict[Key, int], path: Key, number: int) -> None:
    for end in range(1, len(path) + 1):
        lines.setdefault(path[:end], number)


def _parts(dotted: str) -> list[str]:
    return [part.strip("\"'") for part in _PART.findall(dotted)]


def _opened(value: str) -> str:
    """Tell what ends a value that goes on in the next line, empty for one that does not."""
    start = value.lstrip()
    for quotes in ('"""', "'''"):
        if start.startswith(quotes):
            return "" if quotes in start[3:] else quotes
    return "]" if start.startswith("[") and _depth(start) > 0 else ""


def _still_inside(line: str, inside: str) -> str:
    if inside.startswith("]"):
        depth = len(inside) + _depth(line)
        return "]" * max(0, depth)
    return "" if inside in line else inside


def _depth(line: str) -> int:
    bare = _STRING.sub("", line).split("#", 1)[0]
    return bare.count("[") - bare.count("]")
