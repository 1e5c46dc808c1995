"""How a serving process keeps its memory: garbage is looked for seldom, pools are few."""

import ctypes
import gc
from contextlib import suppress
from typing import Final

import pyarrow as pa

_YOUNG_OBJECTS: Final = 20_000
"""Made and alive before the collector looks at them: some five hundred requests' worth, which
are gone by then. By default it looks every twenty requests, at objects that are all in use."""

_ARENAS: Final = 2
"""Pools of the C library that threads take memory from. Each grows to what a thread once needed
to read a model or to write traces, and keeps it: 240 models read by six threads in turn took
13 MB with a pool each (as many as sixteen on two cores), 4 MB with two."""

_M_ARENA_MAX: Final = -8  # malloc.h of the GNU C library


def settle() -> None:
    """Keep what there is for as long as the process lives, and look at the rest seldom.

    Requests leave no cycles behind; what else does is little and can wait. To be called
    before threads are started.
    """
    with suppress(AttributeError, OSError):  # other C libraries have no such pools
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)
    # Arrow's own allocator would keep 10 to 20 MB for traces beside what these pools have.
    pa.set_memory_pool(pa.system_memory_pool())
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
