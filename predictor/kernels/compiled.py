"""How kernels are compiled, and where what was compiled is kept.

Numba keeps machine code in ``__pycache__`` beside the source, else in the user's cache
folder or ``NUMBA_CACHE_DIR``, by processor. It notices changes of the file a function is
in, but not of the functions and column numbers it uses from others: here every kernel
depends on its own module and on all in this folder. Where nothing can be written, what was
shipped is read, and the rest compiled by each process.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import numba
import numpy as np
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)
from numpy.typing import NDArray

from predictor.types import FloatArray

Record = NDArray[np.void]
"""Numbers of one owner by name, an array of one; ``record[0]`` is a :data:`Numbers`."""
Numbers = np.void

_P = ParamSpec("_P")
_R = TypeVar("_R")
_FLOAT64: Final = np.dtype(np.float64)
_HERE: Final = Path(__file__).parent

SOURCES: Final = ("experts.py", "features.py", "types.py")
"""Modules of the folder above that kernels take names and numbers from."""


def compiled(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Have a function compiled when it is first called; later processes load it.

    Division by zero gives infinity or NaN, as in arrays.

    >>> compiled(lambda x: 1.0 / x)(0.0)
    inf
    """
    kernel = numba.njit(error_model="numpy")(function)
    with suppress(RuntimeError):  # it is in no file
        # ``cache=True`` has no way to say what a kernel depends on.
        kernel._cache = _Cache(function)  # type: ignore[attr-defined]  # noqa: SLF001
    return kernel


def is_to_be_kept(kernel: Callable[_P, _R]) -> bool:
    """Tell whether nobody has kept this kernel's machine code for this processor, and could."""
    cache = getattr(kernel, "_cache", None)
    target = getattr(kernel, "targetctx", None)
    if not isinstance(cache, _Cache) or target is None:
        return False
    return not cache.holds(target.codegen().magic_tuple()) and cache.can_keep


def plain(array: FloatArray) -> FloatArray:
    """Give an array as kernels take it: of 8-byte floats, in C order, writable.

    Anything else would be compiled for anew.

    >>> plain(np.zeros((4, 2), dtype=np.float32)[::2]).flags.carray
    True
    """
    if array.flags.carray and array.dtype is _FLOAT64:
        return array
    return np.array(array, dtype=np.float64, order="C")


def record(dtype: np.dtype[np.void], **values: object) -> Record:
    """Make a record of numbers that kernels read and write in place, as an array of one.

    A record is one argument, whatever it holds; arguments are what calling a kernel costs.

    >>> record(np.dtype([("mean", "f8", (2,)), ("rate", "f8")]), rate=0.5)["mean"]
    array([[0., 0.]])
    """
    made = np.zeros(1, dtype)
    for name, value in values.items():
        made[name] = value
    return made


class _AsShipped(InTreeCacheLocator):
    """Look beside the source, as an image may bring it, where nothing can be written."""

    @classmethod
    def from_function(cls, function: Callable[..., object], path: str) -> "_AsShipped | None":
        """Give the place, ``None`` for a function that is in no file."""
        return cls(function, path) if Path(path).is_file() else None


class _Kept(CompileResultCacheImpl):
    _locator_classes = [
        UserProvidedCacheLocator,
        InTreeCacheLocator,
        UserWideCacheLocator,
        _AsShipped,
    ]


class _Cache(FunctionCache):
    """Keep one function's machine code as long as the sources of all kernels stay."""

    _impl_class = _Kept

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__(function)  # type: ignore[no-untyped-call]  # Numba's has no types
        self._cache_file = IndexDataCacheFile(  # type: ignore[no-untyped-call]  # likewise
            cache_path=self._impl.locator.get_cache_path(),
            filename_base=self._impl.filename_base,
            source_stamp=_sources(Path(function.__code__.co_filename)),
        )

    @property
    def can_keep(self) -> bool:
        """Tell whether there is a place that can be written to."""
        return not isinstance(self._impl.locator, _AsShipped)

    def holds(self, processor: tuple[object, ...]) -> bool:
        """Tell whether machine code for a processor is kept, of the sources as they are."""
        kept = self._cache_file._load_index()  # type: ignore[no-untyped-call]  # noqa: SLF001
        return any(key[1] == processor for key in kept)  # of signature, processor, code

    def save_overload(self, *args: object) -> None:
        """Keep what was compiled, where that is possible."""
        with suppress(OSError):
            super().save_overload(*args)  # type: ignore[no-untyped-call]  # likewise


@cache
def _sources(module: Path) -> str:
    """Digest what a kernel is made of: its module, the kernels here, what names their numbers."""
    digest = hashlib.sha256()
    named = (_HERE.parent / name for name in SOURCES)
    for path in (module, *sorted(_HERE.glob("*.py")), *named):
        digest.update(path.read_bytes())
    return digest.hexdigest()
