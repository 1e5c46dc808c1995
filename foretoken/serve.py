"""``foretoken serve`` and ``foretoken predictor``: run until SIGTERM."""

import logging
import socket
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from foretoken.build import Built, build, build_predictor
from foretoken.entrance import keys_of
from foretoken.errors import CannotListen, FolderNotWritable
from foretoken.garbage import settle
from foretoken.log_lines import LogLines
from foretoken.logs import configure
from foretoken.sched_batch import be_batch
from foretoken.settings import ConfigFile, Settings
from foretoken.stores import open_store
from models_store import Place, is_url
from proxy import Access, build_server
from proxy.control import is_loopback

if TYPE_CHECKING:
    from foretoken.peer import Peer

log = logging.getLogger(__name__)

BACKLOG: Final = 4096
"""Connections that wait to be accepted: a burst of new ones, or a worker's restart; the
kernel's own bound (``net.core.somaxconn``) is the same since Linux 5.4."""


def run_server(settings: Settings, config: ConfigFile | None) -> int:
    """Serve until told to stop; give the exit status.

    Where one process serves, nothing is loaded of what several need.
    """
    log_lines = prepare(settings, settings.trace_dir, settings.store_dir)
    warn_if_open(settings)
    if settings.proxy.sched_batch:
        be_batch()
    with listen(settings) as listener:
        settings, config = named(settings, config)
        if settings.workers > 1:
            from foretoken.workers.supervisor import supervise  # noqa: PLC0415  # as above

            return supervise(settings, config, listener)
        built = build(settings, config, log_lines, member=peer_of(settings))
        server = server_of(built, settings)
        return serve_app(server, listener, live_page="/foretoken/", endpoints=settings.fleet)


def named(settings: Settings, config: ConfigFile | None) -> tuple[Settings, ConfigFile | None]:
    """Give this router a name among others, where it is to have any, which a reload keeps."""
    if settings.routers.url is None:
        return settings, config
    from foretoken.routers.outside import own_name  # noqa: PLC0415  # as in run_server

    if settings.store_dir is None and settings.trainer.enabled:
        advice = "set store.directory to storage that all routers read, or each trains alone"
        log.warning("store_not_shared", extra={"advice": advice})
    name = settings.routers.name or own_name()
    routers = settings.routers.model_copy(update={"name": name})
    if config is not None:
        config = replace(config, overrides={**config.overrides, "routers__name": name})
    return settings.model_copy(update={"routers": routers}), config


def peer_of(settings: Settings) -> "Peer | None":
    """Connect a router of one process with others, ``None`` where there are to be none.

    Raises:
        ConfigurationInvalid: They cannot meet where they are to.
    """
    if settings.routers.url is None:
        return None
    from foretoken.peer import lone_peer  # noqa: PLC0415  # as in run_server

    return lone_peer(settings)


def warn_if_open(settings: Settings) -> None:
    """Say plainly when anyone on the network may use what is about to be served.

    Raises:
        ConfigurationInvalid: There are API keys that cannot be used.
    """
    if Access(keys_of(settings)).open and not is_loopback(settings.proxy.host):
        log.warning(
            "open_to_the_network",
            extra={
                "host": settings.proxy.host,
                "advice": "set proxy.access.keys_file, or listen on 127.0.0.1",
            },
        )


def server_of(built: Built, settings: Settings) -> uvicorn.Server:
    """Make the server of what was built, as every process that serves needs it."""
    return build_server(built.app, settings.proxy, closing=built.closing, relay=built.relay)


def prepare(settings: Settings, *places: Place | None) -> LogLines | None:
    """Set logging up and find out whether folders can be written, and buckets be used at all.

    Whether a bucket answers is not asked: it may in a while, and serving does not need it.

    Returns:
        Where requests are logged as JSON, ``None`` where people read the log.

    Raises:
        FolderNotWritable: One cannot.
        StoreRefused: No models can be kept at such a URL.
    """
    log_lines = configure(settings.log.format, settings.log.level)
    for place in places:
        if place is None:
            continue
        if is_url(place):
            open_store(place)
        else:
            _make_writable(Path(place))
    return log_lines


def run_predictor(settings: Settings) -> int:
    """Serve the predictor's API alone until told to stop; give the exit status."""
    prepare(settings, settings.store_dir)
    with listen(settings) as listener:
        built = build_predictor(settings)
        server = build_server(built.app, settings.proxy, closing=built.closing)
        return serve_app(server, listener, objective=settings.control.predictor.objective)


def serve_app(
    server: uvicorn.Server, listener: socket.socket, *, live_page: str = "", **told: str
) -> int:
    """Serve an application until SIGTERM; give the exit status.

    Args:
        server: Runs the application; everything long-lived is built.
        listener: Where it is reached; whoever opened it closes it.
        live_page: Path of the page to look at, empty without one.
        told: More that the line saying so shall tell.
    """
    host, port = listener.getsockname()[:2]
    url = f"http://{_bracketed(host)}:{port}"
    page = {"live_page": url + live_page} if live_page else {}
    log.info("serving", extra={"url": url, **page, **told})
    settle()
    server.run(sockets=[listener])
    log.info("stopped")
    return 0 if server.started else 1


def listen(settings: Settings) -> socket.socket:
    """Open the listening socket before anything is built.

    Raises:
        CannotListen: The address is taken or not ours.
    """
    return listen_at(settings.proxy.host, settings.proxy.port, "--port or --host")


def listen_at(host: str, port: int, flags: str) -> socket.socket:
    """Open a listening socket; ``flags`` are those that choose another address.

    Raises:
        CannotListen: The address is taken or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {_bracketed(host)}:{port}: {error.strerror}; "
            f"choose another with {flags}"
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
