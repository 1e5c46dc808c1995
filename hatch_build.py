"""Compile the hot path into the wheel, where it is asked for.

Off unless ``HATCH_BUILD_HOOK_ENABLE_CUSTOM=true``: then mypyc compiles the modules that
pyproject.toml names, from the same source that runs interpreted otherwise, and the wheel
carries extension modules beside every ``.py``. All is built in a folder of its own, so that
none is ever left beside the sources. Called by hatchling; why, and what it brings and
costs: docs/decisions/compiled.md.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Types of other packages are not followed but for those with stubs: what a build compiles
# must not depend on what happens to be installed beside mypy.
_PACKAGES = ("predictor", "scheduler", "collectors", "proxy", "models_store", "foretoken")

_CACHES = shutil.ignore_patterns("__pycache__")

_MYPY = """\
[mypy]
python_version = 3.11
follow_imports = skip
ignore_missing_imports = True
cache_dir = {cache}
[mypy-predictor.*,scheduler.*,collectors.*,proxy.*,models_store.*,foretoken.*,msgspec.*,numpy.*]
follow_imports = silent
"""

_SETUP = """\
from setuptools import setup
from mypyc.build import mypycify

setup(
    name="foretoken",
    packages=[],
    ext_modules=mypycify(
        ["--config-file={config}", *{modules!r}],
        target_dir={c!r},
        opt_level={level!r},
        debug_level="0",
        multi_file=True,
        group_name="foretoken",
    ),
)
"""


class CompiledModules(BuildHookInterface[Any]):  # hatchling's own parameter says nothing
    """Add compiled modules to a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  # hatchling's
        """Compile, and have the wheel take what came out."""
        if self.target_name != "wheel":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="foretoken-compiled-")
        modules = chosen(Path(self.root), self.config["compile"], self.config["interpret"])
        for built in compile_modules(Path(self.root), modules, Path(self._folder.name)):
            path, place = built
            build_data["force_include"][str(path)] = place
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  # hatchling's
        """Leave nothing behind."""
        if self.target_name == "wheel":
            self._folder.cleanup()


def chosen(root: Path, compiled: Sequence[str], interpreted: Sequence[str]) -> list[str]:
    """Give the modules to compile: those of one list of patterns less those of another.

    Raises:
        ValueError: A pattern of the second names no module of the first.
    """
    modules = {str(path.relative_to(root)) for pattern in compiled for path in root.glob(pattern)}
    for pattern in interpreted:
        left_out = {str(path.relative_to(root)) for path in root.glob(pattern)}
        if not left_out & modules:
            raise ValueError(f"{pattern} names no module that would be compiled")
        modules -= left_out
    return sorted(modules)


def compile_modules(
    root: Path, modules: Sequence[str], folder: Path, level: str = "3"
) -> list[tuple[Path, str]]:
    """Compile modules.

    Args:
        root: Where the packages are.
        modules: Paths below it.
        folder: Where to build; kept, it makes the next build quicker.
        level: Of the C compiler's optimisation.

    Returns:
        Each file built and its place in the wheel.

    Raises:
        RuntimeError: mypyc or the C compiler found something.
    """
    config, script, out = folder / "mypy.ini", folder / "setup.py", folder / "lib"
    source = folder / "source"  # setuptools would read our pyproject.toml as its own
    for package in _PACKAGES:
        shutil.copytree(root / package, source / package, dirs_exist_ok=True, ignore=_CACHES)
    _make_native(root, source, modules)
    config.write_text(_MYPY.format(cache=folder / "cache"))
    c = str(folder / "c")
    script.write_text(_SETUP.format(config=config, modules=list(modules), c=c, level=level))
    command = [sys.executable, str(script), "build_ext", f"--build-lib={out}"]
    command += [f"--build-temp={folder / 'temp'}", f"--parallel={os.cpu_count() or 1}"]
    done = subprocess.run(  # noqa: S603  # our own script
        command, cwd=source, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"compiling failed:\n{done.stdout[-20_000:]}\n{done.stderr[-20_000:]}")
    return [(path, str(path.relative_to(out))) for path in sorted(out.rglob("*.so"))]


# In the build the second stands in place of the first.
_VALUES, _NATIVE_VALUES = "predictor/values.py", "scripts/native_values.py"


def _make_native(root: Path, source: Path, modules: Sequence[str]) -> None:
    shutil.copyfile(root / _NATIVE_VALUES, source / _VALUES)
    for module in modules:
        if module != _VALUES:
            path = source / module
            path.write_text(natively(path.read_text(), module))


def natively(module: str, name: str) -> str:
    """Write constructors into a module's values, which are native classes then.

    Compiled code reads a native class's attribute in an instruction or two, and asks a
    struct for it by name. What is written takes the place of docstrings, so that every
    line keeps its number.

    Args:
        module: Its source.
        name: Of the module, for errors.

    Raises:
        ValueError: A value has no docstring with an empty line before its fields.
    """
    tree = ast.parse(module)
    values = [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_value(node)]
    if not values:
        return module
    lines = module.splitlines()
    try:
        for value in values:
            _write_constructor(value, lines)
        _put(
            tree.body[0],
            lines,
            "from typing import TYPE_CHECKING as _TYPE_CHECKING",
            "if _TYPE_CHECKING: from mypy_extensions import mypyc_attr as _mypyc_attr",
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return "\n".join([*lines, ""])


def _is_value(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Value" for base in node.bases)


def _write_constructor(value: ast.ClassDef, lines: list[str]) -> None:
    fields = [each for each in value.body if isinstance(each, ast.AnnAssign)]
    taken, kept, given = [], [], []
    for field in fields:
        name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
        factory = _factory(field.value)
        default = "" if field.value is None else f" = {ast.unparse(field.value)}"
        taken.append(f"{name}: {kind} | None = None" if factory else f"{name}: {kind}{default}")
        made = f"{factory}() if {name} is None else {name}" if factory else name
        kept.append(f"self.{name} = {made}")
        given.append(f"{name!r}: self.{name}")
        _replace(lines, field.lineno, field.end_lineno, f"    {name}: {kind}")
    by_place = any(word.arg == "kw_only" for word in value.keywords)  # kw_only=False
    taken = ["self", *taken] if by_place else ["self", "*", *taken]
    _put(
        value.body[0],
        lines,
        f"    def __init__({', '.join(taken)}) -> None: {'; '.join(kept)}",
        f"    def fields(self) -> dict[str, object]: return {{{', '.join(given)}}}",
    )
    _replace(lines, value.lineno, value.body[0].lineno - 1, f"class {value.name}(Value):")
    lines[value.lineno - 2] = "@_mypyc_attr(acyclic=True)"


def _factory(default: ast.expr | None) -> str | None:
    """Give what makes a field's default where each value has its own."""
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "msgspec.field":
        return ast.unparse(default.keywords[0].value)
    return None


def _put(docstring: ast.stmt, lines: list[str], first: str, second: str) -> None:
    """Write two lines in place of a docstring and the empty line after it."""
    after = docstring.end_lineno or docstring.lineno
    if not isinstance(docstring, ast.Expr) or lines[after]:
        raise ValueError(f"line {docstring.lineno}: no docstring with an empty line after it")
    _replace(lines, docstring.lineno, after + 1, first, second)


def _replace(lines: list[str], first: int, last: int | None, *written: str) -> None:
    """Write lines in place of others, of which there are as many or more."""
    count = (last or first) - first + 1
    lines[first - 1 : first - 1 + count] = [*written, *[""] * (count - len(written))]
