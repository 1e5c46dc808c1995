"""All pages, by name: what is written and what a test compares."""

from pathlib import Path

from foretoken.reference.api_page import api_page, openapi, openapi_text
from foretoken.reference.commands_page import commands_page
from foretoken.reference.settings_page import settings_page


def pages() -> dict[str, str]:
    """Give every generated page's text by its name below ``docs/``."""
    described = openapi()
    return {
        "api.md": api_page(described),
        "cli.md": commands_page(),
        "configuration.md": settings_page(),
        "openapi.json": openapi_text(described),
    }


def write_pages(folder: Path) -> list[Path]:
    """Write all pages below a folder and name them."""
    written = []
    for name, text in pages().items():
        path = folder / name
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
