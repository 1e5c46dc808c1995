"""A wall clock that can be stepped: of one process, and only the wall's.

libfaketime, which is the usual way, also moves sleeps and waits: with it Python's own
``time.sleep`` fails now and then (``EINVAL``, 0.9.10), and a router may never start. So a
library of our own stands before the C library's (``LD_PRELOAD``); it is compiled where there
is a compiler, and without one no clock is stepped.
"""

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.storm.errors import NotThere

_SOURCE: Final = Path(__file__).with_name("stepped_clock.c")
_OFFSET: Final = struct.Struct("=q")


def compiler() -> str | None:
    """Find a C compiler, ``None`` without one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def built(folder: Path) -> Path | None:
    """Compile the library into a folder; ``None`` where nothing compiles.

    Raises:
        NotThere: The compiler refuses it.
    """
    found = compiler()
    if found is None:
        return None
    library = folder / "stepped_clock.so"
    command = [found, "-shared", "-fPIC", "-O2", "-o", str(library), str(_SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise NotThere(f"{_SOURCE.name} cannot be compiled: {done.stderr.strip()}")
    return library


class Clock:
    """The wall clock of one process.

    Args:
        library: As :func:`built` gave it.
        offset: File of the offset; written.
    """

    def __init__(self, library: Path, offset: Path) -> None:
        self._library = library
        self._offset = offset
        self._offset.write_bytes(_OFFSET.pack(0))

    @property
    def environment(self) -> dict[str, str]:
        """Give what the process needs."""
        return {"LD_PRELOAD": str(self._library), "STORM_CLOCK": str(self._offset)}

    def step(self, offset_s: float) -> None:
        """Let the clock read so many seconds more than the machine's."""
        with self._offset.open("r+b", buffering=0) as file:  # mapped: written in place, at once
            file.write(_OFFSET.pack(round(offset_s * 1e9)))
