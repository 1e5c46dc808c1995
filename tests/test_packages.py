"""The generic names of our top-level packages lead to our own code."""

import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_imported_from_this_tree(name: str) -> None:
    # "predictor" or "proxy" of another distribution must not shadow ours, nor ours theirs.
    module = importlib.import_module(name)

    assert module.__file__ is not None
    assert Path(module.__file__).parent == ROOT / name


@pytest.mark.parametrize("name", PACKAGES)
def test_every_exported_name_exists(name: str) -> None:
    module = importlib.import_module(name)

    exported = getattr(module, "__all__", [])

    assert [each for each in exported if not hasattr(module, each)] == []


def test_no_package_folder_is_missing_from_the_wheel() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}

    assert folders - {"benchmarks"} == set(PACKAGES)
