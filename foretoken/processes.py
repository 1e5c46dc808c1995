"""Start the demo's servers as processes of their own, and stop them for sure."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Self

import httpx

from foretoken.errors import DemoFailed

# What /ready says when no endpoint is down.
ALL_UP = '"down":[]'
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0


class Processes:
    """Hold the servers of one round; leaving the context ends them all.

    Args:
        log_dir: Each server's output goes to a file of its name here.
    """

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._running.values():
            if process.returncode is None:
                process.terminate()
        for process in self._running.values():
            try:
                await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def start(self, name: str, *arguments: str) -> None:
        """Start ``foretoken ARGUMENTS``; its output goes to ``<name>.log``."""
        await self.run(name, sys.executable, "-m", "foretoken", *arguments)

    async def run(self, name: str, *command: str) -> None:
        """Start any command; its output goes to ``<name>.log``."""
        with (self._log_dir / f"{name}.log").open("ab") as output:
            self._running[name] = await asyncio.create_subprocess_exec(
                *command, stdout=output, stderr=output
            )

    def pid(self, name: str) -> int:
        """Give a server's process."""
        return self._running[name].pid

    async def wait_ready(
        self, name: str, url: str, contains: str = "", *, within_s: float = START_TIMEOUT_S
    ) -> None:
        """Wait until a server answers 200 with a body that contains a text.

        Raises:
            DemoFailed: It died or did not come up; the text has the end of its log.
        """
        deadline_s = asyncio.get_running_loop().time() + within_s
        async with httpx.AsyncClient() as client:
            while asyncio.get_running_loop().time() < deadline_s:
                if self._running[name].returncode is not None:
                    break
                try:
                    answer = await client.get(url)
                    if answer.status_code == 200 and contains in answer.text:
                        return
                except httpx.TransportError:
                    pass  # not listening yet
                await asyncio.sleep(0.1)
        log = (self._log_dir / f"{name}.log").read_text(errors="replace")
        raise DemoFailed(f"{name} did not come up:\n{log[-2000:]}")


def free_ports(count: int) -> list[int]:
    """Find ports on the loopback address that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
