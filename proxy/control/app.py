"""The control plane as one ASGI application, mounted beside the data path.

Its routes carry the ``/foretoken`` prefix themselves: the data path hands over the
scope of every such request unchanged.
"""

import asyncio

from fastapi import FastAPI

from dashboards import live_page
from proxy.control.errors import add_error_handlers
from proxy.control.live import live_routes
from proxy.control.plane import ControlPlane
from proxy.control.routes import change_routes, read_routes
from proxy.control.settings import ControlSettings

PREFIX = "/foretoken"


def build_control(
    plane: ControlPlane, *, closing: asyncio.Event, settings: ControlSettings | None = None
) -> FastAPI:
    """Build the control plane's application.

    Args:
        plane: The running service.
        closing: Set when the server begins to shut down: ends the event streams, which
            otherwise hold it up for as long as a page is open.
        settings: Its section of the configuration.
    """
    settings = settings or ControlSettings()
    # The interactive documentation of FastAPI loads scripts from a CDN.
    app = FastAPI(
        title="Foretoken control plane",
        openapi_url=f"{PREFIX}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    add_error_handlers(app)
    live = live_routes(
        plane, page=live_page(), closing=closing, interval_s=settings.snapshot_interval_s
    )
    changes = change_routes(plane, allow_remote=settings.allow_remote_changes)
    for router in (read_routes(plane), changes, live):
        app.include_router(router, prefix=PREFIX)
    return app
