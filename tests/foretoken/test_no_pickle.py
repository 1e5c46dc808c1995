"""Nothing that runs code when it is read is read anywhere: models, traces and words are data."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = (
    *("predictor", "scheduler", "collectors", "models_store", "proxy", "simulator", "foretoken"),
    *("dashboards", "benchmarks", "scripts"),
)
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))

# Their readers run what the bytes say.
UNSAFE = {"_pickle", "cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
# Processes of one command, over a pipe of their own that nobody else can reach: an error of a
# run must be one that survives the way (multiprocessing pickles by itself).
EXCEPTIONS = {("foretoken/simulation/workers.py", "pickle")}
CALLS = {"eval", "exec", "compile", "__import__"}


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield node.module.partition(".")[0]
        elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
            yield from (
                str(each.value).partition(".")[0]
                for each in node.args[:1]
                if isinstance(each, ast.Constant)
            )


def test_only_the_one_place_that_is_documented_imports_a_pickle() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in SOURCES
        for name in imports(ast.parse(path.read_text()))
        if name in UNSAFE
    }

    assert len(SOURCES) > 300
    assert found == EXCEPTIONS


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_evaluates_text_or_loads_arrays_that_may_hold_objects(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = _called(node)
        if isinstance(node.func, ast.Name):
            assert name not in CALLS, f"line {node.lineno}: {name}()"
        if name == "load" and _owner(node) in {"np", "numpy"}:
            allowed = {word.arg: word.value for word in node.keywords}.get("allow_pickle")
            assert isinstance(allowed, ast.Constant), f"line {node.lineno}"
            assert allowed.value is False
        if _owner(node) == "yaml":
            assert name not in {"load", "load_all", "unsafe_load", "full_load"}, node.lineno
        for word in node.keywords:
            if word.arg == "shell":
                assert getattr(word.value, "value", None) is False, f"line {node.lineno}"


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))


def _owner(node: ast.Call) -> str:
    return getattr(getattr(node.func, "value", None), "id", "")
