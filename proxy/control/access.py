"""Who may change the running service: programs on this machine, unless configured."""

import ipaddress

from fastapi import Request

from proxy.control.errors import ChangeForbidden


async def local_only(request: Request) -> None:
    """Refuse a change that comes from elsewhere or from a web page.

    A page of any site can make the operator's browser call this machine, and a browser
    names the page's origin when it does: the live page only reads, so a change that has
    an origin is none of ours. A forwarded request comes from wherever its header says.

    Raises:
        ChangeForbidden: It does.
    """
    headers = request.headers
    if "origin" in headers:
        raise ChangeForbidden("changes are not taken from web pages")
    host = request.client.host if request.client else None
    if not _is_loopback(host) or "x-forwarded-for" in headers or "forwarded" in headers:
        raise ChangeForbidden(
            "changes are taken from this machine only; see allow_remote_changes in the settings"
        )


def _is_loopback(host: str | None) -> bool:
    """Tell whether an address is this machine's own; no address is a Unix socket.

    >>> [_is_loopback(host) for host in ("127.0.0.1", "::1", "10.0.0.7", "testclient", None)]
    [True, True, False, False, True]
    """
    if not host:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
