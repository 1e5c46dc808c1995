"""The reference pages say what the code does, and all of it."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from foretoken.reference import pages, write_pages
from foretoken.setting_sections import meanings, sections
from foretoken.settings import Settings
from proxy.session import CONVERSATION_HEADERS, PERSON_HEADERS, TENANT_HEADERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
NAME = re.compile(r"(?<![\w-])x-[a-z0-9-]+")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages()


@pytest.mark.parametrize("name", ["api.md", "cli.md", "configuration.md"])
def test_the_pages_are_as_generated(generated: dict[str, str], name: str) -> None:
    committed = (DOCS / name).read_text(encoding="utf-8")

    assert committed == generated[name], "run: python -m foretoken.reference"


def test_the_openapi_document_describes_the_same_api(generated: dict[str, str]) -> None:
    """Of routes and shapes, not to the byte: FastAPI's own wording changes with its version."""

    def of(text: str) -> tuple[set[tuple[str, str]], dict[str, set[str]]]:
        document = json.loads(text)
        routes = {(path, method) for path, ways in document["paths"].items() for method in ways}
        shapes = document["components"]["schemas"].items()
        return routes, {name: set(shape.get("properties", ())) for name, shape in shapes}

    assert of((DOCS / "openapi.json").read_text(encoding="utf-8")) == of(generated["openapi.json"])


def test_every_setting_says_what_it_means() -> None:
    silent = [
        (*section.path, name)
        for section in sections(Settings)
        for name, field in section.fields.items()
        if name != "kind" and name not in meanings(section.model)
        if not isinstance(field.annotation, type) or not hasattr(field.annotation, "model_fields")
    ]

    assert silent == []


def test_every_setting_stands_on_the_page(generated: dict[str, str]) -> None:
    page = generated["configuration.md"]

    for section in sections(Settings):
        for name, field in section.fields.items():
            is_section = hasattr(field.annotation, "model_fields")
            assert is_section or name == "kind" or f"| `{name}` |" in page


def test_pages_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    written = write_pages(tmp_path)

    assert sorted(path.name for path in written) == [
        "api.md", "cli.md", "configuration.md", "openapi.json",
    ]  # fmt: skip


def literals(path: Path) -> Iterator[str]:
    """Give the texts of a module's code, docstrings left out."""
    tree = ast.parse(path.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in said:
            value: Any = node.value
            if isinstance(value, bytes):
                yield value.decode("latin-1")
            elif isinstance(value, str):
                yield value


def test_the_page_of_headers_names_those_of_the_code_and_no_others() -> None:
    page = (DOCS / "headers.md").read_text()
    sessions = (*CONVERSATION_HEADERS, *PERSON_HEADERS, *TENANT_HEADERS)
    in_code = {
        name
        for path in (ROOT / "proxy").rglob("*.py")
        for text in literals(path)
        for name in NAME.findall(text)
    }
    on_page = set(NAME.findall(page))

    assert {name for name in in_code if not _begins_one(name, on_page)} == set()
    assert {name for name in on_page if not _begun_by_one(name, in_code)} == set()
    assert [name for name in sessions if f"`{name.decode()}`" not in page] == []


def _begins_one(name: str, known: set[str]) -> bool:
    return name in known or (name.endswith("-") and any(one.startswith(name) for one in known))


def _begun_by_one(name: str, known: set[str]) -> bool:
    return name in known or any(one.endswith("-") and name.startswith(one) for one in known)


def test_every_shape_that_the_api_document_refers_to_is_in_it() -> None:
    text = (DOCS / "openapi.json").read_text("utf-8")

    named = set(re.findall(r"#/components/schemas/(\w+)", text))

    assert named
    assert named <= set(json.loads(text)["components"]["schemas"])
