"""The supervisor where the machine cannot give it processes."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path

import pytest

from foretoken.settings import Settings
from foretoken.workers.supervisor import Supervisor
from foretoken.workers.table import SharedTable

ONCE = '#!/bin/sh\nrm "$0"\nexit 3\n'


def run(folder: Path, python: Path, *, served: bool) -> int:
    """Run one worker by a program until the supervisor ends."""
    table = SharedTable.create(1)
    if served:
        SharedTable(table.descriptor, workers=1, worker=0).set_ready()
    settings = Settings.model_validate({"endpoints": [{"url": "http://127.0.0.1:9"}]})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(settings, None, listener, table, folder, python=str(python))
        return asyncio.run(supervisor.run())


class StopAtSecondDeath(logging.Handler):
    """Tell this process to end once a worker has died twice."""

    def __init__(self) -> None:
        super().__init__()
        self.deaths: list[int] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "worker_died":
            self.deaths.append(record.__dict__["exit_code"])
            if len(self.deaths) == 2:
                os.kill(os.getpid(), signal.SIGTERM)


def test_a_first_start_without_a_process_ends_with_1(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    code = run(tmp_path, tmp_path / "absent", served=False)

    assert code == 1
    assert [record.msg for record in caplog.records][:2] == [
        "worker_not_started",
        "worker_cannot_start",
    ]


def test_a_restart_without_a_process_is_tried_again(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(ONCE)
    python.chmod(0o700)
    stop = StopAtSecondDeath()
    log = logging.getLogger("foretoken.workers.supervisor")
    log.addHandler(stop)
    try:
        run(tmp_path, python, served=True)
    finally:
        log.removeHandler(stop)

    assert stop.deaths == [3, 127]
