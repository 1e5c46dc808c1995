"""Which of its two builds runs: the source as it is, or its hot path compiled by mypyc."""

from importlib.machinery import ExtensionFileLoader, PathFinder
from importlib.util import find_spec
from typing import Literal

Kind = Literal["compiled", "interpreted"]

_HOT = ("proxy", "relay")
"""A module that every request passes."""


def kind() -> Kind:
    """Say which build this is, without importing it."""
    package, module = _HOT
    found = find_spec(package)
    places = None if found is None else found.submodule_search_locations
    spec = PathFinder.find_spec(f"{package}.{module}", places)
    compiled = spec is not None and isinstance(spec.loader, ExtensionFileLoader)
    return "compiled" if compiled else "interpreted"
