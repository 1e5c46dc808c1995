"""Tables in Markdown."""

import re
from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Give a table's lines.

    >>> table(("a", "b"), [("1", "x | y")])
    ['| a | b |', '|---|---|', '| 1 | x \\| y |']
    """
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return lines


def cell(text: str) -> str:
    r"""Make text fit a cell: one line, and nothing that ends the cell.

    >>> cell("<host> is ``a|b``")
    '&lt;host> is `a\\|b`'
    """
    one_line = prose(text).replace("|", "\\|")
    return re.sub(r"<(?=[a-z/])", "&lt;", one_line)


def prose(text: str) -> str:
    """Make a docstring's words those of a page below ``docs/``.

    >>> prose("``a`` (docs/access.md), docs/decisions/trees.md")
    '`a` ([access.md](access.md)), [decisions/trees.md](decisions/trees.md)'
    """
    one_line = " ".join(text.split()).replace("``", "`")
    return re.sub(r"\bdocs/((?:[\w-]+/)*[\w-]+\.md)", r"[\1](\1)", one_line)
