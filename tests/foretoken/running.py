"""Start the real command line as processes on loopback, and stop them for sure."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

PATIENCE_S = 60.0  # for anything to happen on a machine that is busy with other things
AGAIN_S = 0.02  # between two looks: whoever looks all the time slows down what it waits for


def asking(url: str = "") -> httpx.Client:
    """Give a client of plain HTTP whose every request has a connection of its own.

    Reading the authorities that others trust takes httpx 20 ms of CPU, of each ``httpx.get``.
    """
    return httpx.Client(
        base_url=url,
        verify=False,  # noqa: S501  # nothing is encrypted on loopback
        timeout=PATIENCE_S,
        limits=httpx.Limits(max_keepalive_connections=0),
    )


def may_be_batch() -> bool:
    """Say whether the kernel, or whoever keeps us, lets processes be SCHED_BATCH."""
    script = "import os; os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))"
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    return ended.returncode == 0


class Running:
    """Hold processes of the command line; leaving the context ends them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment: dict[str, str] = {}  # beside ours, of what is started from now on

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            process.wait()

    def start(self, name: str, *arguments: str) -> None:
        with (self._folder / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-m", "foretoken", *arguments],
                stdout=log,
                stderr=log,
                env=os.environ | self.environment,
            )

    def start_endpoint(self, name: str, port: int) -> None:
        self.start(name, "simulate-endpoint", "--port", str(port), "--seed", str(port))

    def runs(self, name: str) -> bool:
        return self._processes[name].poll() is None

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait()

    def stop(self, name: str) -> None:
        """Freeze a process: it keeps its connections and says nothing."""
        self._processes[name].send_signal(signal.SIGSTOP)

    def resume(self, name: str) -> None:
        self._processes[name].send_signal(signal.SIGCONT)

    def terminate(self, name: str) -> int:
        self._processes[name].terminate()
        return self._processes[name].wait(PATIENCE_S)

    def wait(self, name: str) -> int:
        return self._processes[name].wait(PATIENCE_S)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text()

    def until(self, name: str, url: str, contains: str | re.Pattern[str] = "") -> httpx.Response:
        """Ask again and again until an answer is 200 and contains a text or a pattern."""
        wanted = re.compile(re.escape(contains)) if isinstance(contains, str) else contains
        deadline_s = time.monotonic() + PATIENCE_S
        with asking() as client:
            while time.monotonic() < deadline_s and self._processes[name].poll() is None:
                with suppress(httpx.TransportError):
                    answer = client.get(url)
                    if answer.status_code == 200 and wanted.search(answer.text):
                        return answer
                time.sleep(AGAIN_S)
        raise AssertionError(f"{name}: {url} never said {contains}:\n{self.log(name)[-3000:]}")

    def until_logged(self, name: str, text: str) -> None:
        """Look at a log again and again until it contains a text."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if text in self.log(name):
                return
            time.sleep(AGAIN_S)
        raise AssertionError(f"{name} never logged {text}:\n{self.log(name)[-3000:]}")
