"""``foretoken serve``: run the service until SIGTERM."""

import gc
import logging

from foretoken.build import build
from foretoken.logs import configure
from foretoken.settings import ConfigFile, Settings
from proxy import build_server

log = logging.getLogger(__name__)


def run_server(settings: Settings, config: ConfigFile | None) -> int:
    """Serve until told to stop; give the exit status."""
    configure(settings.log.format, settings.log.level)
    built = build(settings, config)
    server = build_server(built.app, settings.proxy, closing=built.closing)
    url = f"http://{settings.proxy.host}:{settings.proxy.port}"
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
    server.run()
    return 0 if server.started else 1
