"""The server's side of the trainer: start it, feed it, start it again when it dies.

LightGBM must not stall tokens, so training runs in a process of its own. Feeding
never blocks: observations go a few times a second, and when the pipe is full they are
dropped and counted. A dead trainer harms nobody: what was published stays in use.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec

from collectors.in_step import until_next
from foretoken.sched_batch import kept
from foretoken.settings import TrainerSettings
from foretoken.trainer_protocol import SIGN_OF_LIFE, Forget, LeadUntil, Report, TooLong, frame
from models_store import Place
from predictor import PredictorSettings
from predictor.types import Observation

log = logging.getLogger(__name__)

MOST_RESTART_S = 60.0
SEND_S = 0.2
"""Longest that an observation waits to be sent; a training round is many seconds."""
MOST_TOGETHER = 1024
"""Observations that do not wait for more: half a megabyte."""


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
        heard_s: When it was started or last said anything, by the monotonic clock; ``None``
            between two.
    """

    def __init__(
        self,
        *,
        settings: TrainerSettings,
        predictor: PredictorSettings,
        store_dir: Place,
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
        self._unsent: list[Observation] = []
        self._timer: asyncio.TimerHandle | None = None
        self._until_s: float | None = None  # by the monotonic clock; None: for ever
        self.pid: int | None = None
        self.dropped = 0
        self.restarts = 0
        self.heard_s: float | None = None

    @property
    def alive(self) -> bool:
        """Tell whether a process is there to take observations."""
        return self._pipe is not None

    def feed(self, observation: Observation) -> None:
        """Take one observation to be sent soon, or drop and count it."""
        if self._pipe is None:
            self.dropped += 1
        else:
            self._gather(observation)

    def pass_on(self, data: bytes, count: int) -> None:
        """Hand over a frame of so many observations that was written elsewhere."""
        pipe = self._pipe
        if pipe is None or not self._has_room(pipe.transport):
            self.dropped += count
        else:
            pipe.write(data)

    def _gather(self, observation: Observation) -> None:
        """Keep one to be sent with others."""
        self._unsent.append(observation)
        if len(self._unsent) >= MOST_TOGETHER:
            self._send()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(until_next(SEND_S), self._send)

    def forget(self, fleet: str) -> None:
        """Let the process forget a fleet's observations, those still on their way too."""
        self._send()
        pipe = self._pipe
        if pipe is not None and not pipe.transport.is_closing():
            pipe.write(frame(Forget(fleet)))

    def lead_until(self, until_s: float) -> None:
        """Let the process publish until an instant of the monotonic clock, and not after."""
        self._until_s = until_s
        self._send_leave()

    @property
    def elsewhere(self) -> bool:
        """Tell whether another process of several trains for this one."""
        return False

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

    def _send(self) -> None:
        """Hand over what is unsent, or drop and count it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unsent, self._unsent = self._unsent, []
        if not unsent:
            return
        try:
            self._hand_over(unsent)
        except TooLong:
            self.dropped += len(unsent)

    def _hand_over(self, observations: Sequence[Observation]) -> None:
        """Give some to whoever trains.

        Raises:
            TooLong: They are more than a frame holds.
        """
        self.pass_on(frame(observations), len(observations))

    def _send_leave(self) -> None:
        pipe, until_s = self._pipe, self._until_s
        if pipe is not None and until_s is not None and not pipe.transport.is_closing():
            pipe.write(frame(LeadUntil(until_s)))

    def _has_room(self, transport: asyncio.WriteTransport) -> bool:
        # Of a dead process the pipe is closed before its end is known here, and uvloop's
        # closed transports raise whatever they are asked.
        return (
            not transport.is_closing()
            and transport.get_write_buffer_size() <= self._settings.max_queued_bytes
        )

    async def _live_once(self) -> int:
        with kept():  # of a trainer that dies in the middle of a round it is not as it was
            return await self._live_and_die()

    async def _live_and_die(self) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for us: the trainer ends with its input
        )
        self._pipe, self.pid = process.stdin, process.pid
        self.heard_s = time.monotonic()
        self._send_leave()
        try:
            if process.stdout is not None:
                await self._read_reports(process.stdout)
            return await process.wait()
        finally:
            self._pipe = self.pid = self.heard_s = None
            self._send()  # nobody is there: counts what was on its way
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

    async def _read_reports(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            self.heard_s = time.monotonic()
            if line == SIGN_OF_LIFE:
                continue
            try:
                report = msgspec.json.decode(line, type=Report)
            except msgspec.MsgspecError:
                log.warning("trainer_said_something_else", extra={"length": len(line)})
                continue
            self._on_report(report)
