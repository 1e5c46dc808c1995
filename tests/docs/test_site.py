"""The documentation builds as a site without a warning, and the site needs nobody else."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    find_spec("mkdocs") is None, reason="mkdocs is not installed: pip install 'foretoken[docs]'"
)


class Loaded(HTMLParser):
    """Collect what a browser loads for a page by itself: not what a reader may click on."""

    SOURCES = ("img", "script", "iframe", "source", "video", "audio")

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        # A canonical link is said, not loaded.
        loads = tag == "link" and named.get("rel") not in {"canonical", "next", "prev"}
        address = named.get("href") if loads else named.get("src") if tag in self.SOURCES else None
        if address is not None:
            self.addresses.append(address)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert "WARNING" not in built.stderr
    return folder


def test_every_page_of_the_folder_is_on_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in ROOT.glob("docs/**/*.md")}

    built = {path.relative_to(site).with_suffix("") for path in site.glob("**/*.html")}

    # A folder's README is its index.
    indexed = {page.with_name("index") if page.name == "README" else page for page in pages}
    assert indexed == built - {Path("404")}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    elsewhere: list[tuple[str, str]] = []
    for page in site.glob("**/*.html"):
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        elsewhere += [
            (page.name, address)
            for address in loaded.addresses
            if address.startswith(("http:", "https:", "//"))
        ]

    assert elsewhere == []


def test_no_style_sheet_loads_anything_from_elsewhere(site: Path) -> None:
    sheets = [path.read_text(encoding="utf-8") for path in site.glob("**/*.css")]

    assert sheets
    assert not any("url(http" in sheet or "@import" in sheet for sheet in sheets)


def test_links_to_code_lead_to_the_repository(site: Path) -> None:
    page = (site / "decisions" / "workers.html").read_text(encoding="utf-8")

    assert 'href="https://github.com/foretoken/foretoken/blob/main/scheduler/bookings.py"' in page
