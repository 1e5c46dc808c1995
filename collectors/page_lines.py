"""Find a metric's samples on a page in the Prometheus text format, without parsing the rest.

Called by what reads the pages of each engine. What that gives up stands in
:mod:`collectors.metrics_page`.
"""

import math
from collections.abc import Iterator
from typing import Final

_AFTER_NAME: Final = (b"{", b" ", b"\t")


def samples(page: bytes, name: bytes) -> Iterator[bytes]:
    """Yield the sample lines of exactly this name, without their newlines.

    Args:
        page: Begins with a newline, so that every line begins after one.
        name: Of the metric.
    """
    start = _find_line(page, name)
    while start > 0 and page.startswith(name, start):
        end = page.find(b"\n", start)
        line = page[start:] if end < 0 else page[start:end]
        if line[len(name) : len(name) + 1] in b"{ \t":
            yield line
        start = end + 1


def value(line: bytes) -> float:
    """Read the number behind the labels; NaN where there is none.

    >>> value(b'vllm:num_requests_running{engine="0"} 3.0')
    3.0
    """
    fields = line[line.rfind(b"}") + 1 :].split() if b"}" in line else line.split()[1:]
    try:
        number = float(fields[0])
    except (IndexError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _find_line(page: bytes, name: bytes) -> int:
    """Find the first line of exactly this name; 0 where there is none.

    A page is searched once for a name it does not have.
    """
    start = page.find(b"\n" + name) + 1
    while start > 0 and page[start + len(name) : start + len(name) + 1] not in _AFTER_NAME:
        start = page.find(b"\n" + name, start) + 1
    return start
