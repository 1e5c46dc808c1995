"""The control plane on the data path's connections: an ASGI application behind a request.

uvicorn's own request cycle speaks ASGI; this hands it a request that is whole already,
and passes on what happens to the client. Its cost does not matter, its comfort does.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from proxy.http_request import Request

if TYPE_CHECKING:
    from uvicorn._types import ASGI3Application, HTTPScope

logger = logging.getLogger("uvicorn.error")


class AsgiServing:
    """Serve one request by an application.

    Args:
        request: The request.
        transport: The client's.
        app_state: What the application's lifespan left for its requests.
        keep: Whether the connection may be kept.
        on_end: Told of the end of the response: whether the connection is kept.
    """

    def __init__(
        self,
        request: Request,
        transport: asyncio.Transport,
        app_state: dict[str, Any],  # ASGI's: any application's own
        *,
        keep: bool,
        on_end: Callable[[bool], None],
    ) -> None:
        self._flow = FlowControl(transport)
        self._heard = asyncio.Event()
        self._heard.set()
        self._cycle = RequestResponseCycle(
            scope=_scope(request, transport, app_state),
            transport=transport,
            flow=self._flow,
            logger=logger,
            access_logger=logger,
            access_log=False,
            default_headers=[],
            message_event=self._heard,
            expect_100_continue=False,  # the body is here
            keep_alive=keep,
            on_response=lambda: on_end(self._cycle.keep_alive),
        )
        self._cycle.body += request.body
        self._cycle.more_body = False

    def start(self, app: "ASGI3Application") -> "asyncio.Task[None]":
        """Run the application; whoever started it keeps the task."""
        return asyncio.get_running_loop().create_task(self._cycle.run_asgi(app))

    def client_gone(self) -> None:
        """Tell the application, which may be waiting to write or to hear."""
        self._cycle.disconnected = True
        self._heard.set()
        self._flow.resume_writing()

    def hold_back(self) -> None:
        """Let the application's writes wait."""
        self._flow.pause_writing()

    def go_on(self) -> None:
        """Let them go on."""
        self._flow.resume_writing()

    def tick(self, now: float) -> None:
        """Do nothing: the application has its own time."""

    def shut_down(self) -> None:
        """Close after this response; the server cancels what does not end."""
        self._cycle.keep_alive = False


def _scope(
    request: Request,
    transport: asyncio.Transport,
    app_state: dict[str, Any],  # as above
) -> "HTTPScope":
    head = request.head
    raw_path, _, query = head.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1" if head.http_1_1 else "1.0",
        "server": get_local_addr(transport),
        "client": get_remote_addr(transport),
        "scheme": "https" if is_ssl(transport) else "http",
        "root_path": "",
        "headers": head.lines,
        "state": app_state.copy(),
        "method": head.method.decode("ascii"),
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
    }
