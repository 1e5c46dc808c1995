"""Start the workers, start them again when they die, and end them together.

The parent of all workers holds what outlives each of them: the listening socket, in whose
queue connections wait while a worker is started, the table they share and the folder of
their sockets. It serves nothing itself. A worker that dies loses its own connections; what
it had booked is cleared before another takes its place.
"""

import asyncio
import logging
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from foretoken.settings import ConfigFile, Settings
from foretoken.workers.spec import Spec
from foretoken.workers.table import SharedTable

log = logging.getLogger(__name__)

RESTART_S: Final = 0.5
MOST_RESTART_S: Final = 30.0
STEADY_S: Final = 60.0
"""Whoever lived for so long is started again at once, as at first."""
GRACE_S: Final = 10.0
"""Beyond the time requests in flight may go on: for what is flushed after them."""
_LOOK_S: Final = 0.05
_NEVER_RAN: Final = 127
"""The exit status a shell gives for what cannot be started."""


def supervise(settings: Settings, config: ConfigFile | None, listener: socket.socket) -> int:
    """Serve by several workers until told to stop; give the exit status."""
    table = SharedTable.create(settings.workers)
    with tempfile.TemporaryDirectory(prefix="foretoken-") as folder:
        supervisor = Supervisor(settings, config, listener, table, Path(folder))
        return asyncio.run(supervisor.run())


class Supervisor:
    """Keep the workers running.

    Args:
        settings: Of the whole.
        config: Where they were read from, ``None`` for nowhere.
        listener: Where clients connect.
        table: What workers share.
        folder: Where they meet, and where models live that nobody wants to keep.
        python: Runs a worker.
    """

    def __init__(
        self,
        settings: Settings,
        config: ConfigFile | None,
        listener: socket.socket,
        table: SharedTable,
        folder: Path,
        *,
        python: str = sys.executable,
    ) -> None:
        store = settings.store_dir or folder / "models"
        kept = settings.store.model_copy(update={"directory": store})
        self._settings = settings.model_copy(update={"store": kept})
        self._config = config
        self._listener = listener
        self._table = table
        self._folder = folder
        self._python = python
        self._epoch_offset_s = time.time() - time.monotonic()
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        """Run until told to stop; give the exit status."""
        with self._signals():
            keepers = [asyncio.create_task(self._keep(w)) for w in range(self._settings.workers)]
            telling = asyncio.create_task(self._tell_when_ready())
            await self._stopping.wait()
            self._listener.close()
            limit_s = self._settings.proxy.shutdown_s + GRACE_S
            await asyncio.wait(keepers, timeout=limit_s)
            for worker, process in self._processes.items():
                log.error("worker_killed", extra={"worker": worker, "pid": process.pid})
                self._exit_code = 1
                process.kill()
            await asyncio.gather(*keepers)
            telling.cancel()
        log.info("stopped")
        return self._exit_code

    def _stop(self, sent: signal.Signals) -> None:
        self._stopping.set()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(sent)

    def _reload(self) -> None:
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGHUP)

    async def _keep(self, worker: int) -> None:
        """Start a worker again and again until told to stop."""
        restarted, wait_s = False, RESTART_S
        while not self._stopping.is_set():
            started_s = time.monotonic()
            code, served = await self._live_once(worker, restarted=restarted)
            self._table.clear(worker)
            if self._stopping.is_set():
                self._exit_code = self._exit_code or int(code != 0)
                return
            if not (served or restarted):
                log.error("worker_cannot_start", extra={"worker": worker, "exit_code": code})
                self._exit_code = 1
                self._stop(signal.SIGTERM)
                return
            if time.monotonic() - started_s > STEADY_S:
                wait_s = RESTART_S
            log.error(
                "worker_died",
                extra={"worker": worker, "exit_code": code, "restart_in_s": wait_s},
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)
            restarted, wait_s = True, min(wait_s * 2, MOST_RESTART_S)
            self._table.restarted(worker)

    async def _live_once(self, worker: int, *, restarted: bool) -> tuple[int, bool]:
        """Run a worker once; give its exit status, and whether it ever served."""
        table, listener = self._table.descriptor, self._listener.fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                self._python,
                "-m",
                "foretoken.workers.process",
                stdin=asyncio.subprocess.PIPE,
                pass_fds=(table, listener),
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError as error:  # no process, memory or descriptor left: a death like others
            log.error("worker_not_started", extra={"worker": worker, "problem": str(error)})
            return _NEVER_RAN, False
        self._processes[worker] = process
        log.info("worker_started", extra={"worker": worker, "pid": process.pid})
        if self._stopping.is_set():  # told meanwhile
            process.terminate()
        config = self._config
        overrides = {} if config is None else dict(config.overrides)
        spec = Spec(
            worker=worker,
            restarted=restarted,
            settings=self._settings.model_dump_json(),
            config_path=None if config is None else str(config.path),
            overrides={**overrides, "store__directory": self._settings.store.directory},
            folder=str(self._folder),
            table=table,
            listener=listener,
            epoch_offset_s=self._epoch_offset_s,
        )
        try:
            if process.stdin is not None:
                process.stdin.write(spec.line())  # and never closed: its end means ours
            code = await process.wait()
        finally:
            del self._processes[worker]
        return code, self._table.ready()[worker]

    async def _tell_when_ready(self) -> None:
        while not all(self._table.ready()):  # noqa: ASYNC110  # a flag in shared memory
            await asyncio.sleep(_LOOK_S)
        host, port = self._listener.getsockname()[:2]
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        log.info(
            "serving",
            extra={
                "url": url,
                "live_page": f"{url}/foretoken/",
                "workers": self._settings.workers,
                "endpoints": self._settings.fleet,
            },
        )

    @contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._stop, each)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        try:
            yield
        finally:
            for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(each)
