"""The routers that take turns: what each is, how it is installed, started and seen ready.

Foreign routers come from the package index at pinned versions, each into a virtual
environment of its own under ``.work/``, never into the project's. One that cannot be
installed or started is a reason in the table, not a missing row.
"""

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foretoken.errors import DemoFailed
from foretoken.processes import ALL_UP, Processes, free_ports
from foretoken.vllm_cpu import ROOT, VllmServer

WORK: Final = ROOT / ".work" / "real_engine"
CONSTRAINTS: Final = Path(__file__).with_name("constraints.txt")

READY_WITHIN_S: Final = 180.0
"""A router that imports LightGBM on two cores that are busy with other work needs a minute."""

FOLLOW: Final = ("setpriv", "--pdeathsig", "TERM", "--")
"""What is started so ends with this process, even where that is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """Describe one router.

    Attributes:
        command: What follows its program; ``{port}`` and ``{metrics_port}`` are filled in.
        endpoints: How the endpoints are named after that: a flag before each of them, or one
            flag before all.
        flag_each: Whether the flag is repeated.
        ready_path: Answers 200 when requests may come.
        ready_text: What its answer then holds: that both endpoints are taken up.
        package: What to install with pip, ``None`` for our own.
        program: Name of its console script there.
    """

    command: tuple[str, ...]
    endpoints: str
    flag_each: bool = False
    ready_path: str
    ready_text: str
    package: str | None = None
    program: str | None = None


BOTH_HEALTHY: Final = '"healthy_workers":2'
CACHE_AWARE: Final = ("--policy", "cache_aware", "--host", "127.0.0.1", "--port", "{port}")

ROUTERS: Final[Mapping[str, Router]] = {
    "foretoken": Router(
        command=("serve", "--port", "{port}"),
        endpoints="--endpoint",
        flag_each=True,
        ready_path="/ready",
        ready_text=ALL_UP,
    ),
    "round_robin": Router(
        command=("serve", "--port", "{port}", "--policy", "round_robin"),
        endpoints="--endpoint",
        flag_each=True,
        ready_path="/ready",
        ready_text=ALL_UP,
    ),
    "vllm-router": Router(
        command=(*CACHE_AWARE, "--prometheus-port", "{metrics_port}"),
        endpoints="--worker-urls",
        ready_path="/readiness",
        ready_text=BOTH_HEALTHY,
        package="vllm-router==0.1.17",
        program="vllm-router",
    ),
    "sglang-router": Router(
        command=("launch", *CACHE_AWARE, "--prometheus-port", "{metrics_port}"),
        endpoints="--worker-urls",
        ready_path="/readiness",
        ready_text=BOTH_HEALTHY,
        package="sglang-router==0.3.2",
        program="sglang-router",
    ),
}
"""By name; ``round_robin`` is Foretoken's own proxy with that policy."""


def command_line(
    router: Router, program: Sequence[str], ports: tuple[int, int], endpoints: Sequence[str]
) -> list[str]:
    """Write the command that starts a router.

    >>> ours = command_line(ROUTERS["foretoken"], ["foretoken"], (1, 2), ["http://a", "http://b"])
    >>> " ".join(ours)
    'foretoken serve --port 1 --endpoint http://a --endpoint http://b'
    >>> command_line(ROUTERS["vllm-router"], ["r"], (1, 2), ["http://a", "http://b"])[-3:]
    ['--worker-urls', 'http://a', 'http://b']
    """
    port, metrics_port = ports
    filled = [part.format(port=port, metrics_port=metrics_port) for part in router.command]
    if router.flag_each:
        named = [part for url in endpoints for part in (router.endpoints, url)]
    else:
        named = [router.endpoints, *endpoints]
    return [*program, *filled, *named]


async def install(name: str) -> None:
    """Install a foreign router where its pinned version is not there yet.

    The stamp is written last and names the pins: without a matching one, what is there is
    half-finished or outdated, and is built from nothing.

    Raises:
        DemoFailed: It could not be installed; the text has the end of pip's output.
    """
    package = ROUTERS[name].package
    if package is None:
        return
    stamp = _environment(name) / ".complete"
    wanted = f"{package} {hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    await called(sys.executable, "-m", "venv", "--clear", str(_environment(name)))
    pip = (str(_environment(name) / "bin" / "python"), "-m", "pip", "install", "--quiet")
    options = ("--disable-pip-version-check", "--only-binary", ":all:")
    await called(*pip, *options, "--constraint", str(CONSTRAINTS), package)
    stamp.write_text(wanted)


async def called(*command: str) -> None:
    """Run a program that must succeed; it ends with us.

    Raises:
        DemoFailed: It did not; the text has the end of what it printed.
    """
    process = await asyncio.create_subprocess_exec(
        *FOLLOW, *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        process.terminate()
        raise
    if process.returncode != 0:
        text = output.decode(errors="replace")[-1000:]
        raise DemoFailed(f"{' '.join(command[1:4])} ended with {process.returncode}: {text}")


@asynccontextmanager
async def running(name: str, servers: Sequence[VllmServer]) -> AsyncIterator[str]:
    """Run one router before these servers; give its URL once it has taken up all of them.

    Raises:
        DemoFailed: It died or did not come up; the text has the end of its log.
    """
    router = ROUTERS[name]
    program = _program(name, router)
    port, metrics_port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    endpoints = [server.url for server in servers]
    (WORK / f"{name}.log").unlink(missing_ok=True)
    async with Processes(WORK) as processes:
        await processes.run(
            name, *FOLLOW, *command_line(router, program, (port, metrics_port), endpoints)
        )
        await processes.wait_ready(
            name, url + router.ready_path, router.ready_text, within_s=READY_WITHIN_S
        )
        yield url


def _program(name: str, router: Router) -> list[str]:
    if router.program is None:
        return [sys.executable, "-m", "foretoken"]
    return [str(_environment(name) / "bin" / router.program)]


def _environment(name: str) -> Path:
    return WORK / "environments" / name
