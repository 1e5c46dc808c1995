"""``foretoken picker``: the scheduler as Envoy's endpoint picker, until SIGTERM.

The picker's own port speaks gRPC; metrics, health and the control plane are at the usual
HTTP port beside it. Imported only where the extra ``picker`` is installed.
"""

import logging
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from collectors import EndpointSettings
from foretoken.build import Built, build
from foretoken.entrance import Entrance, Inside
from foretoken.errors import ConfigurationInvalid
from foretoken.log_lines import LogLines
from foretoken.serve import listen, listen_at, named, peer_of, prepare, serve_app, warn_if_open
from foretoken.settings import ConfigFile, Settings
from proxy import build_server
from proxy.control import is_loopback
from proxy.picker.picker import Picker
from proxy.picker.server import PickerServer

log = logging.getLogger(__name__)


def run_picker(settings: Settings, config: ConfigFile | None) -> int:
    """Serve until told to stop; give the exit status."""
    log_lines = prepare(settings, settings.trace_dir, settings.store_dir)
    own = settings.proxy.picker
    warn_if_open(settings)
    warn_if_seen(settings)
    with (
        listen(settings) as listener,
        listen_at(own.host, own.port, "--grpc-port or --grpc-host") as grpc_listener,
    ):
        settings, config = named(settings, config)
        built = build_picker(settings, config, log_lines, grpc_listener)
        server = build_server(built.app, settings.proxy, closing=built.closing)
        host, port = grpc_listener.getsockname()[:2]
        return serve_app(
            server,
            listener,
            live_page="/foretoken/",
            endpoints=settings.fleet,
            picker=f"{host}:{port}",
        )


def warn_if_seen(settings: Settings) -> None:
    """Say plainly when anyone on the network may reach the picker, which knows no keys."""
    host = settings.proxy.picker.host
    if not is_loopback(host):
        advice = "let nobody but Envoy reach it, or listen on 127.0.0.1"
        log.warning("open_to_the_network", extra={"host": host, "advice": advice})


def build_picker(
    settings: Settings,
    config: ConfigFile | None,
    log_lines: LogLines | None,
    listener: socket.socket,
) -> Built:
    """Construct the service with Envoy for its data path.

    Raises:
        ConfigurationInvalid: An endpoint is not as Envoy names it, or none is configured.
    """
    problems = misnamed(settings.endpoints)
    if problems:
        raise ConfigurationInvalid("endpoints", problems)

    def make_entrance(inside: Inside) -> Entrance:
        picker = Picker(
            scheduler=inside.scheduler,
            settings=inside.settings.proxy,
            metrics=inside.metrics,
            sinks=inside.sinks,
            clock=inside.clock,
            tokens=inside.tokens,
            tracer=inside.tracer,
        )
        serving = PickerServer(picker, settings.proxy, listener)
        return Entrance(path=picker, serving=serving, objection=_objection)

    peer = peer_of(settings)
    return build(settings, config, log_lines, member=peer, make_entrance=make_entrance)


def _objection(endpoint: EndpointSettings) -> str | None:
    if _is_address(urlsplit(endpoint.url).hostname or ""):
        return None
    return "Envoy knows endpoints by their IP addresses, and this is a name"


def misnamed(endpoints: Sequence[EndpointSettings]) -> tuple[str, ...]:
    """Name the endpoints that Envoy would call otherwise: it knows addresses, no host names.

    >>> misnamed([EndpointSettings(url="http://10.0.0.1:8000"), EndpointSettings(url="http://a:1")])
    ("endpoints.1.url = 'http://a:1': give the IP address, as in Envoy's cluster",)
    """
    return tuple(
        f"endpoints.{number}.url = {endpoint.url!r}: give the IP address, as in Envoy's cluster"
        for number, endpoint in enumerate(endpoints)
        if not _is_address(urlsplit(endpoint.url).hostname or "")
    )


def _is_address(host: str) -> bool:
    """Tell whether a host is an IP address, written the way Envoy writes it.

    >>> [_is_address(host) for host in ("10.0.0.1", "::1", "0:0::1", "localhost")]
    [True, True, False, False]
    """
    try:
        return str(ip_address(host)) == host
    except ValueError:
        return False
