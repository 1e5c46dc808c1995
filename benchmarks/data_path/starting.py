"""Start endpoints and routers as processes of their own, and end them for sure."""

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.data_path.load import Traffic, chat, cycle, send
from benchmarks.data_path.routers import (
    OURS,
    PEERS,
    Choice,
    Running,
    litellm_config,
    our_program,
    peer_command,
    program_of,
)
from benchmarks.real_engine.routers import FOLLOW
from foretoken.processes import ALL_UP, Processes, free_ports

READY_WITHIN_S: Final = 180.0
"""A router that imports LightGBM on two cores that are busy with other work needs a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Say where things lie.

    Attributes:
        folder: Logs, traces and models; another's to remove.
        peers: Where peers are installed, ``None`` without any.
        compiled: Program of a compiled build of ours, ``None`` to run from source.
    """

    folder: Path
    peers: Path | None
    compiled: Path | None = None


@asynccontextmanager
async def stubs(site: Site, count: int, *options: str) -> AsyncIterator[list[str]]:
    """Run endpoints in one process of their own; give their base URLs."""
    ports = free_ports(count)
    command = (sys.executable, "-m", "benchmarks.data_path.stub", ",".join(map(str, ports)))
    async with Processes(site.folder) as processes:
        await processes.run("stub", *FOLLOW, *command, *options)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        await processes.wait_ready("stub", f"{urls[-1]}/health")
        yield urls


@asynccontextmanager
async def started(
    site: Site, chosen: Sequence[Choice], endpoints: Sequence[str]
) -> AsyncIterator[list[Running]]:
    """Run routers before the same endpoints; give them once each serves all of these.

    Raises:
        DemoFailed: One did not come up; the text has the end of its log.
    """
    async with Processes(site.folder) as processes:
        running = [await _start(processes, site, choice, endpoints) for choice in chosen]
        for router in running:
            hello = Traffic(make=cycle([chat("hello")]), connections=1, requests=20)
            await send(router.port, hello)
        yield running


async def _start(
    processes: Processes, site: Site, choice: Choice, endpoints: Sequence[str]
) -> Running:
    port, metrics_port = free_ports(2)
    start = _start_ours if choice.program == OURS else _start_peer
    await start(processes, site, choice, endpoints, (port, metrics_port))
    return Running(name=choice.name, port=port, pid=processes.pid(choice.name))


async def _start_ours(
    processes: Processes,
    site: Site,
    choice: Choice,
    endpoints: Sequence[str],
    ports: tuple[int, int],
) -> None:
    port = ports[0]
    named = [part for url in endpoints for part in ("--endpoint", url)]
    policy = ("--policy", choice.policy) if choice.policy else ()
    options = ("--data-dir", str(site.folder / f"data-{port}"), "--log-format", "json")
    from_source = choice.interpreted or choice.module != (OURS,)
    program = our_program(None if from_source else site.compiled, choice.module)
    command = (*program, "serve", "--port", str(port), *named, *options, *policy)
    await processes.run(choice.name, *FOLLOW, *command, *choice.options)
    await processes.wait_ready(
        choice.name, f"http://127.0.0.1:{port}/ready", ALL_UP, within_s=READY_WITHIN_S
    )


async def _start_peer(
    processes: Processes,
    site: Site,
    choice: Choice,
    endpoints: Sequence[str],
    ports: tuple[int, int],
) -> None:
    assert site.peers is not None  # noqa: S101  # else none is chosen
    peer, (port, metrics_port) = PEERS[choice.program], ports
    config = site.folder / f"{choice.name}.yaml"
    config.write_text(litellm_config(endpoints))
    command = peer_command(
        choice, endpoints, port=str(port), metrics_port=str(metrics_port), config=str(config)
    )
    program = ("env", *peer.environment, str(program_of(site.peers, choice.program)))
    await processes.run(choice.name, *FOLLOW, *program, *command)
    await processes.wait_ready(
        choice.name,
        f"http://127.0.0.1:{port}{peer.ready_path}",
        peer.ready_text.format(endpoints=len(endpoints)),
        within_s=READY_WITHIN_S,
    )
