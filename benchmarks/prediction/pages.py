"""Where tables go: to the terminal, and into marked places of a page of Markdown.

A place is what lies between ``<!-- NAME -->`` and ``<!-- /NAME -->``. A run replaces the
places whose tables it made and leaves the others, so a page is refreshed part by part.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from foretoken.errors import ForetokenError


class NoPlaces(ForetokenError):
    """Say that a page has no place for any table that was made."""


class Pages:
    r"""Print tables and remember them by name.

    >>> pages = Pages()
    >>> table = Table("set", "error")
    >>> table.add_row("one", "3.0%")
    >>> pages.show(Console(quiet=True), {"errors": table})
    >>> print(pages.filled("<!-- errors -->\nold\n<!-- /errors -->"))
    <!-- errors -->
    | set | error |
    |---|---|
    | one | 3.0% |
    <!-- /errors -->
    """

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Name the tables there are."""
        return tuple(self._tables)

    def show(self, console: Console, tables: Mapping[str, Table]) -> None:
        """Print tables and remember them."""
        for name, table in tables.items():
            console.print(table)
            self._tables[name] = table

    def fill(self, page: Path) -> None:
        """Put the tables in their places of a page.

        Raises:
            NoPlaces: It has none of them.
        """
        text = page.read_text()
        if not any(_place(name).search(text) for name in self._tables):
            raise NoPlaces(f"{page} has no place for any of {', '.join(self._tables)}")
        page.write_text(self.filled(text))

    def filled(self, text: str) -> str:
        """Give a page's text with the tables in their places."""
        for name, table in self._tables.items():
            found = f"<!-- {name} -->\n{markdown(table)}\n<!-- /{name} -->"
            text = _place(name).sub(lambda _, found=found: found, text)  # type: ignore[misc]  # the default binds
        return text


def markdown(table: Table) -> str:
    """Write a table as Markdown, without its title."""
    rows = [[str(column.header) for column in table.columns]]
    cells = [[_plain(cell) for cell in column.cells] for column in table.columns]
    rows += [list(row) for row in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(table.columns), *lines[1:]])


def _place(name: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- /{re.escape(name)} -->", re.DOTALL)


def _plain(cell: object) -> str:
    return Text.from_markup(str(cell)).plain
