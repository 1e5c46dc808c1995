"""Who may look at the running service and change it: programs on this machine, and admins.

A router that listens beyond loopback shows its control plane only to this machine and to
whoever sends an admin's API key, unless configured otherwise; the predictor's API, which
other machines are meant to ask, is open. Changes have a rule of their own on top.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

from fastapi import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from proxy.access import Access
from proxy.answers import send_error
from proxy.control.errors import ChangeForbidden
from proxy.control.settings import ControlSettings
from proxy.errors import ErrorResponse

_ADMIN: Final = "foretoken.admin"  # in the scope of a request that has an admin's key
_OPEN_PATHS: Final = "/foretoken/predictor/"


class AdminGate:
    """Let callers look; an ASGI application around another one.

    Args:
        app: The control plane.
        access: Knows the admins.
        guarded: Whether callers from elsewhere need an admin's key.
    """

    def __init__(self, app: ASGIApp, access: Access, *, guarded: bool) -> None:
        self._app = app
        self._access = access
        self._guarded = guarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._access.is_admin(headers):
            scope[_ADMIN] = True
        elif self._guarded and not (
            is_from_here(scope.get("client"), headers) or scope["path"].startswith(_OPEN_PATHS)
        ):
            await send_error(send, _REFUSED)
            return
        await self._app(scope, receive, send)


def guards_reads(settings: ControlSettings, *, listens_beyond: bool) -> bool:
    """Say whether callers from elsewhere need an admin's key to look.

    >>> guards_reads(ControlSettings(), listens_beyond=True)
    True
    """
    return listens_beyond and not (settings.allow_remote_reads or settings.allow_remote_changes)


async def local_only(request: Request) -> None:
    """Refuse a change that comes from elsewhere or from a web page, unless an admin's.

    A page of any site can make the operator's browser call this machine, and a browser
    names the page's origin when it does: the live page only reads, so a change that has
    an origin is none of ours. A forwarded request comes from wherever its header says.

    Raises:
        ChangeForbidden: It does.
    """
    if request.scope.get(_ADMIN):
        return
    if "origin" in request.headers:
        raise ChangeForbidden("changes are not taken from web pages")
    client = request.client
    address = None if client is None else (client.host, client.port)
    if not is_from_here(address, dict(request.headers.raw)):
        raise ChangeForbidden(
            "changes are taken from this machine only, or with an admin's API key; see "
            "allow_remote_changes in the settings"
        )


def is_from_here(client: tuple[str, int] | None, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request was made on this machine.

    >>> is_from_here(("127.0.0.1", 1), {}), is_from_here(("127.0.0.1", 1), {b"forwarded": b""})
    (True, False)
    """
    if b"x-forwarded-for" in headers or b"forwarded" in headers:
        return False
    return is_loopback(client[0] if client else None)


def is_loopback(host: str | None) -> bool:
    """Tell whether an address is this machine's own; no address is a Unix socket.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "10.0.0.7", "testclient", None)]
    [True, True, False, False, True]
    """
    if not host or host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


_REFUSED: Final = ErrorResponse(
    status=401,
    message="the control plane is for this machine and for admins: send an admin's API key, "
    "or see allow_remote_reads in the settings",
    type="permission_error",
    code="admin_key_required",
    headers=((b"www-authenticate", b"Bearer"),),
)
