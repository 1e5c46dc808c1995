"""What a request costs several workers against one: CPU of whole process trees.

Both services stand in front of the same stub endpoints and take the same load in turns.
CPU time is user and system of every process that serves, by ``/proc``; the trainer's is
left out of both. The load is closed: each connection asks again once it is answered.
"""

import asyncio
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import httpx
import uvloop

from benchmarks.workers.stub import MODEL
from foretoken.processes import Processes, free_ports

CONNECTIONS: Final = 32
_BODY: Final = (
    b'{"model":"%b","messages":[{"role":"user","content":"hi"}],"max_tokens":1}' % MODEL.encode()
)
_REQUEST: Final = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_TICK_S: Final = 1.0 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Hold what was measured.

    Attributes:
        one_s: CPU seconds a request with one worker, by round.
        several_s: Likewise with several.
        spread: Connections of each worker under load, as last seen.
    """

    one_s: tuple[float, ...]
    several_s: tuple[float, ...]
    spread: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """Give the median of the rounds' ratios."""
        pairs = zip(self.several_s, self.one_s, strict=True)
        return median(several / one for several, one in pairs)


async def measure(folder: Path, *, workers: int, rounds: int, seconds: float) -> Cost:
    """Measure in turns."""
    first, second, one, several = free_ports(4)
    ports = {1: one, workers: several}
    figures: dict[int, list[float]] = {count: [] for count in ports}
    async with Processes(folder) as processes:
        for port in (first, second):
            await processes.run(
                f"stub{port}", sys.executable, "-m", "benchmarks.workers.stub", str(port)
            )
        for count, port in ports.items():
            await _start(processes, folder, count, port, (first, second))
        for count, port in ports.items():
            await _start_wait(processes, count, port)
            await load(port, seconds)  # predictors warm up
        spread: list[int] = []
        for _ in range(rounds):
            for count, port in ports.items():
                pid = processes.pid(f"workers{count}")
                before = cpu_s(pid)
                asked = asyncio.create_task(load(port, seconds))
                await asyncio.sleep(seconds * 0.8)
                if count > 1:
                    spread = await _connections(port)
                requests = await asked
                figures[count].append((cpu_s(pid) - before) / requests)
    return Cost(one_s=tuple(figures[1]), several_s=tuple(figures[workers]), spread=tuple(spread))


async def load(port: int, seconds: float) -> int:
    """Ask on all connections for some time; count the answers."""
    until_s = asyncio.get_running_loop().time() + seconds
    counts = await asyncio.gather(*(_ask(port, until_s) for _ in range(CONNECTIONS)))
    return sum(counts)


def cpu_s(pid: int) -> float:
    """Give the CPU seconds of a process and all below it but trainers."""
    total = 0.0
    for each in (pid, *_children(pid)):
        try:
            command = Path(f"/proc/{each}/cmdline").read_bytes()
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        if b"trainer_process" not in command:
            total += (int(fields[11]) + int(fields[12])) * _TICK_S
    return total


async def _ask(port: int, until_s: float) -> int:
    loop, count = asyncio.get_running_loop(), 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while loop.time() < until_s:
            writer.write(_REQUEST)
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            if not head.startswith(b"HTTP/1.1 200") or found is None:
                msg = f"the router answered {head[:60]!r}"
                raise ValueError(msg)
            await reader.readexactly(int(found[1]))
            count += 1
    finally:
        writer.close()
    return count


async def _connections(port: int) -> list[int]:
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    return [int(float(n)) for n in re.findall(r"foretoken_worker_connections\{.*\} (\S+)", page)]


async def _start(
    processes: Processes, folder: Path, workers: int, port: int, stubs: tuple[int, int]
) -> None:
    endpoints = [f"--endpoint=http://127.0.0.1:{stub}" for stub in stubs]
    await processes.start(
        f"workers{workers}",
        "serve",
        *endpoints,
        f"--port={port}",
        f"--workers={workers}",
        f"--data-dir={folder / f'data{workers}'}",
        "--log-format=json",
    )


async def _start_wait(processes: Processes, workers: int, port: int) -> None:
    url = f"http://127.0.0.1:{port}"
    await processes.wait_ready(f"workers{workers}", f"{url}/ready", '"down":[]', within_s=120)
    if workers > 1:
        last = f'foretoken_worker_up{{worker="{workers - 1}"}} 1.0'
        await processes.wait_ready(f"workers{workers}", f"{url}/metrics", last, within_s=120)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *_children(int(child))]
    except FileNotFoundError:
        pass
    return found


def run(folder: Path, *, workers: int, rounds: int, seconds: float) -> Cost:
    """Measure, in an event loop of its own."""
    return uvloop.run(measure(folder, workers=workers, rounds=rounds, seconds=seconds))
