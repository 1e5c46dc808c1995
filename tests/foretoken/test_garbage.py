"""What a serving process does about its memory, in a process of its own."""

import ctypes
import subprocess
import sys

import pytest

THREADS = """
import ctypes, threading
from foretoken.garbage import settle

settle()
meet = threading.Barrier(6)

def work():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    meet.wait()
    assert libc.malloc(100_000)
    meet.wait()

threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="no GNU C library")
def test_threads_share_few_pools_of_memory() -> None:
    told = subprocess.run(
        [sys.executable, "-c", THREADS], check=True, capture_output=True, text=True, timeout=60
    ).stdout

    assert 1 <= told.count("<heap nr=") <= 2
