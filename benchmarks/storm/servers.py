"""Processes of a storm: started, signalled, started again, and ended for sure.

Output goes through a pipe into a file that only we write: a limit on a server's files hits
what it writes itself, not its log. Called by the place.
"""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from benchmarks.storm.errors import NotThere

START_S: Final = 60.0
STOP_S: Final = 60.0
_LOOK_S: Final = 0.1


class Server:
    """One process that may die and be started again.

    Args:
        name: Of its log.
        command: What runs.
        log: Where its output goes; appended to.
        environment: Beside ours.

    Attributes:
        exits: Exit statuses so far, of every time it ended.
    """

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        self.name = name
        self.log = log
        self._command = tuple(command)
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None
        self._copying: asyncio.Task[None] | None = None
        self.exits: list[int] = []

    @property
    def pid(self) -> int:
        """Give the process that runs, or ran last."""
        if self._process is None:
            raise NotThere(f"{self.name} was never started")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Tell whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; it may take a while until it answers."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=os.environ | self._environment,
            limit=1 << 20,
        )
        self._copying = asyncio.create_task(self._copy(self._process))

    def tell(self, line: bytes) -> None:
        """Write a line to its standard input."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(line + b"\n")

    def hush(self) -> None:
        """End its standard input."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    async def wait(self, within_s: float = STOP_S) -> int:
        """Wait for its end, and for all it wrote; give the exit status.

        Raises:
            NotThere: It does not end; it is killed.
        """
        process = self._process
        if process is None or self._copying is None:
            raise NotThere(f"{self.name} was never started")
        try:
            status = await asyncio.wait_for(process.wait(), within_s)
        except TimeoutError as error:
            process.kill()
            raise NotThere(f"{self.name} did not end within {within_s:g} s") from error
        await self._copying
        self.exits.append(status)
        return status

    async def stop(self) -> int:
        """Ask it to end and wait; give the exit status."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def kill(self) -> None:
        """End it at once, for sure, whatever state it is in."""
        if self.running:
            self.signal(signal.SIGKILL)
            await self.wait()

    async def answers(self, url: str, contains: str = "", within_s: float = START_S) -> None:
        """Wait until it answers 200 with a body that contains a text.

        Raises:
            NotThere: It died, or does not.
        """
        deadline_s = asyncio.get_running_loop().time() + within_s
        async with httpx.AsyncClient(timeout=5.0) as client:
            while self.running and asyncio.get_running_loop().time() < deadline_s:
                try:
                    answer = await client.get(url)
                    if answer.status_code == 200 and contains in answer.text:
                        return
                except httpx.TransportError:
                    pass  # not listening yet, or busy
                await asyncio.sleep(_LOOK_S)
        said = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
        raise NotThere(f"{self.name}: {url} never answered with {contains!r}:\n{said}")

    async def _copy(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            return
        with self.log.open("ab") as log:
            while data := await process.stdout.read(1 << 16):
                log.write(data)
                log.flush()
