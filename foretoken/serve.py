"""``foretoken serve``: run the service until SIGTERM."""

import gc
import logging
import socket
import tempfile
from pathlib import Path

from foretoken.build import build
from foretoken.errors import CannotListen, FolderNotWritable
from foretoken.logs import configure
from foretoken.settings import ConfigFile, Settings
from proxy import build_server

log = logging.getLogger(__name__)


def run_server(settings: Settings, config: ConfigFile | None) -> int:
    """Serve until told to stop; give the exit status."""
    configure(settings.log.format, settings.log.level)
    for folder in (settings.trace_dir, settings.store_dir):
        if folder is not None:
            _make_writable(folder)
    built = build(settings, config)
    server = build_server(built.app, settings.proxy, closing=built.closing)
    listener = _listen(settings.proxy.host, settings.proxy.port)
    url = f"http://{_bracketed(settings.proxy.host)}:{listener.getsockname()[1]}"
    log.info(
        "serving",
        extra={
            "url": url,
            "live_page": f"{url}/foretoken/",
            "endpoints": ", ".join(endpoint.name for endpoint in settings.endpoints),
        },
    )
    # What was built lives as long as the process: the collector need not look at it again.
    gc.collect()
    gc.freeze()
    with listener:
        server.run(sockets=[listener])
    log.info("stopped")
    return 0 if server.started else 1


def _listen(host: str, port: int) -> socket.socket:
    """Open the listening socket before anything says that it serves.

    Raises:
        CannotListen: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {_bracketed(host)}:{port}: {error.strerror}; "
            "choose another with --port or --host"
        ) from error


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _make_writable(folder: Path) -> None:
    """Find out now, not with the first trace, that a folder cannot be written.

    Raises:
        FolderNotWritable: It cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderNotWritable(f"cannot write to {folder}: {error.strerror}") from error
