"""The server's side of the trainer: start it, feed it, start it again when it dies.

LightGBM must not stall tokens, so training runs in a process of its own. Feeding
never blocks: when the pipe is full an observation is dropped and counted. A dead
trainer harms nobody: what was published stays in use.
"""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from foretoken.settings import TrainerSettings
from foretoken.trainer_protocol import Forget, Report, frame
from predictor import PredictorSettings
from predictor.types import Observation

log = logging.getLogger(__name__)

MOST_RESTART_S = 60.0


class Trainer:
    """Supervise the trainer process.

    Args:
        settings: Cadence and bounds.
        predictor: What it trains by.
        store_dir: Where it publishes.
        keep: Versions kept per fleet.
        on_report: Called with every report, on the event loop.

    Attributes:
        pid: Of the process that runs now, ``None`` between two.
        dropped: Observations it could not take in time.
        restarts: Times it died and was started again.
    """

    def __init__(
        self,
        *,
        settings: TrainerSettings,
        predictor: PredictorSettings,
        store_dir: Path,
        keep: int,
        on_report: Callable[[Report], None],
    ) -> None:
        self._settings = settings
        self._arguments = (
            "-m",
            "foretoken.trainer_process",
            str(store_dir),
            str(keep),
            str(settings.interval_s),
            str(settings.cpu_share),
            predictor.model_dump_json(),
        )
        self._on_report = on_report
        self._pipe: asyncio.StreamWriter | None = None
        self.pid: int | None = None
        self.dropped = 0
        self.restarts = 0

    @property
    def alive(self) -> bool:
        """Tell whether a process is there to take observations."""
        return self._pipe is not None

    def feed(self, observation: Observation) -> None:
        """Hand over one observation, or drop and count it."""
        pipe = self._pipe
        if pipe is None or not self._has_room(pipe.transport):
            self.dropped += 1
        else:
            pipe.write(frame(observation))

    def forget(self, fleet: str) -> None:
        """Let the process forget a fleet's observations, those still on their way too."""
        pipe = self._pipe
        if pipe is not None and not pipe.transport.is_closing():
            pipe.write(frame(Forget(fleet)))

    async def run(self) -> None:
        """Keep a trainer process running until cancelled."""
        wait_s = self._settings.restart_s
        while True:
            started_s = asyncio.get_running_loop().time()
            code = await self._live_once()
            self.restarts += 1
            if asyncio.get_running_loop().time() - started_s > MOST_RESTART_S:
                wait_s = self._settings.restart_s
            log.error("trainer_died", extra={"exit_code": code, "restart_in_s": wait_s})
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, MOST_RESTART_S)

    def _has_room(self, transport: asyncio.WriteTransport) -> bool:
        # Of a dead process the pipe is closed before its end is known here, and uvloop's
        # closed transports raise whatever they are asked.
        return (
            not transport.is_closing()
            and transport.get_write_buffer_size() <= self._settings.max_queued_bytes
        )

    async def _live_once(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: the trainer ends with its input
        )
        self._pipe, self.pid = process.stdin, process.pid
        try:
            if process.stdout is not None:
                await self._read_reports(process.stdout)
            return await process.wait()
        finally:
            self._pipe = self.pid = None
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _read_reports(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            try:
                report = msgspec.json.decode(line, type=Report)
            except msgspec.MsgspecError:
                log.warning("trainer_said_something_else", extra={"length": len(line)})
                continue
            self._on_report(report)
