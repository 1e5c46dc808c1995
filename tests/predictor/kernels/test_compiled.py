"""Machine code that is kept does not outlive what it was made of."""

import ast
from pathlib import Path

import predictor
from predictor.kernels.compiled import SOURCES

FOLDER = Path(predictor.__file__).parent
KERNELS = sorted((FOLDER / "kernels").glob("*.py"))


def imported(path: Path) -> set[str]:
    """Name the modules of the predictor that a file imports from."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name for name in names if name.startswith("predictor.")}


def test_kernels_depend_on_nothing_that_is_not_looked_at() -> None:
    found = set[str]().union(*map(imported, KERNELS))

    outside = {name for name in found if not name.startswith("predictor.kernels")}
    assert outside == {f"predictor.{Path(name).stem}" for name in SOURCES}


def test_kernels_slice_no_arrays_in_loops() -> None:
    """A slice counts references: it costs more than what is done with a row."""
    for path in KERNELS:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]
        sliced = [node for loop in loops for node in ast.walk(loop) if isinstance(node, ast.Slice)]
        assert sliced == [], path.name
