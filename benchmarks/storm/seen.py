"""What can be seen of routers from outside while they run: pages, logs, /proc.

Called by the faults, which wait until something is seen, and at the end of a storm.
"""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.storm.errors import NotBack
from benchmarks.storm.place import Place, Router

DROPPED: Final = "foretoken_trace_dropped_total"
"""Records that are in no trace and will be in none."""

MEETING: Final = "to the meeting"
"""Connections there: a pool keeps as many as were needed at a time, one or two more or fewer."""

PROC: Final = Path("/proc")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TRAINER: Final = b"foretoken.trainer_process"
_STATES: Final = {"01": "established", "06": "time wait", "08": "close wait", "0A": "listening"}
_LOOK_S: Final = 0.25
_LOOKS: Final = 5

Samples = dict[str, list[tuple[dict[str, str], float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Hold what a router's process held at a time.

    Attributes:
        pid: Of the process.
        rss_bytes: Resident.
        descriptors: What its open files are, by kind, and how many.
        trainer_bytes: Resident of its trainer, ``None`` where none runs.
    """

    pid: int
    rss_bytes: int
    descriptors: dict[str, int]
    trainer_bytes: int | None


async def until(
    what: str, happened: Callable[[], Awaitable[bool]], *, within_s: float = 30.0
) -> None:
    """Wait for something to be seen.

    Raises:
        NotBack: It is not, in time.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while loop.time() < deadline_s:
        try:
            if await happened():
                return
        except httpx.TransportError:
            pass  # a busy machine; the time is bounded
        await asyncio.sleep(_LOOK_S)
    raise NotBack(f"not within {within_s:g} s: {what}")


async def samples(place: Place, router: Router) -> Samples:
    """Read a router's page of metrics, by the names of its samples."""
    answer = await place.client.get(f"{router.url}/metrics")
    return read_samples(answer.text)


def read_samples(text: str) -> Samples:
    r"""Give a page's samples by name.

    >>> read_samples('a_total{b="c"} 2.0\n')
    {'a_total': [({'b': 'c'}, 2.0)]}
    """
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def total(page: Samples, name: str, **labels: str) -> float:
    """Sum the samples of a name that have these labels.

    >>> total({"a": [({"b": "c"}, 2.0), ({"b": "d"}, 3.0)]}, "a", b="d")
    3.0
    """
    wanted = labels.items()
    return sum(value for has, value in page.get(name, []) if wanted <= has.items())


async def is_up(place: Place, router: Router, endpoint: str) -> bool:
    """Tell whether a router thinks well of an endpoint."""
    answer = await place.client.get(f"{router.url}/foretoken/endpoints")
    return any(
        one["endpoint"] == endpoint and one["up"] and one["suspicion"] is None
        for one in answer.json()
    )


def log_lines(path: Path) -> Iterator[dict[str, Any] | str]:
    """Give a router's log: objects, and as text what is none."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                yield json.loads(line)
            except ValueError:
                yield line.rstrip()


def times_logged(router: Router, event: str) -> int:
    """Count an event in a router's log."""
    return router.server.log.read_bytes().count(b'"event": "%b"' % event.encode())


def trainer_pid(router: Router) -> int | None:
    """Find the trainer that a router has started, ``None`` between two."""
    return next((pid for pid, trains in _family(router.server.pid) if trains), None)


async def held(place: Place, router: Router) -> Held:
    """Look at what a router holds for more than a moment: the fewest descriptors of some looks.

    It asks publishers of KV events every few seconds whether they are still the same, by a
    connection that is gone again at once: nothing that a look should count.
    """
    looks = [_look(place, router)]
    while len(looks) < _LOOKS:
        await asyncio.sleep(_LOOK_S)
        looks.append(_look(place, router))
    return min(looks, key=lambda one: sum(one.descriptors.values()))


def _look(place: Place, router: Router) -> Held:
    """See its process, its workers, its trainer apart."""
    ports = {endpoint.port: "to endpoints" for endpoint in place.endpoints}
    if place.meeting is not None:
        ports[place.meeting.port] = MEETING
    family = list(_family(router.server.pid))
    descriptors: dict[str, int] = {}
    for pid, trains in family:
        for kind in () if trains else _descriptors(pid, ports):
            descriptors[kind] = descriptors.get(kind, 0) + 1
    trainers = [pid for pid, trains in family if trains]
    return Held(
        pid=router.server.pid,
        rss_bytes=sum(_rss_bytes(pid) for pid, trains in family if not trains),
        descriptors=descriptors,
        trainer_bytes=_rss_bytes(trainers[0]) if trainers else None,
    )


def _family(pid: int) -> Iterator[tuple[int, bool]]:
    """Give a process and all it started, and whether each is a trainer."""
    yield pid, _TRAINER in _read(f"{pid}/cmdline")
    for task in _names(f"{pid}/task"):
        for child in _read(f"{pid}/task/{task}/children").split():
            yield from _family(int(child))


def _descriptors(pid: int, ports: Mapping[int, str]) -> Iterator[str]:
    """Give the kind of every open descriptor; of a connection, with whom and in what state."""
    connections = _connections(pid, ports)
    for number in _names(f"{pid}/fd"):
        try:
            target = str((PROC / f"{pid}/fd/{number}").readlink())
        except OSError:
            continue  # closed meanwhile
        kind, _, detail = target.partition(":")
        detail = detail.strip("[]")  # an inode, or what of the kernel's own it is
        if kind == "anon_inode":
            kind = detail
        yield "file" if target.startswith("/") else connections.get(detail, kind)


def _connections(pid: int, ports: Mapping[int, str]) -> dict[str, str]:
    """Say of each TCP socket what it is, by its inode.

    Source: Linux, Documentation/networking/proc_net_tcp.rst; states of include/net/tcp_states.h.
    """
    found = {}
    for line in _read(f"{pid}/net/tcp").decode().splitlines()[1:]:
        _, _, remote, state, *rest = line.split()
        whom = ports.get(int(remote.partition(":")[2], 16), "other")
        found[rest[5]] = f"tcp {whom}, {_STATES.get(state, state)}"
    return found


def _rss_bytes(pid: int) -> int:
    fields = _read(f"{pid}/statm").split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def _names(path: str) -> list[str]:
    try:
        return os.listdir(PROC / path)  # noqa: PTH208  # names are all that is wanted
    except OSError:
        return []


def _read(path: str) -> bytes:
    try:
        return (PROC / path).read_bytes()
    except OSError:
        return b""
