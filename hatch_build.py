"""Compile the hot path into the wheel, where it is asked for.

Off unless ``HATCH_BUILD_HOOK_ENABLE_CUSTOM=true``: then mypyc compiles the modules that
pyproject.toml names, from the source that runs interpreted otherwise, and the wheel carries
extension modules beside every ``.py``. Constructors are first written into its values, whose
base is another one (scripts/natively.py, scripts/native_values.py). All is built in a folder
of its own, so that none is ever left beside the sources. Called by hatchling; why, and what
it brings and costs: docs/decisions/compiled.md.
"""

import os
import runpy
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
    """Have values be native classes: scripts/natively.py."""
    natively = runpy.run_path(str(root / "scripts/natively.py"))["natively"]
    shutil.copyfile(root / _NATIVE_VALUES, source / _VALUES)
    for module in modules:
        if module != _VALUES:
            path = source / module
            path.write_text(natively(path.read_text(), module))
