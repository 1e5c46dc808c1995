"""Describe the other routers for the control plane."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from proxy.control import OtherRouterView, RoutersView

if TYPE_CHECKING:  # whoever has no other routers loads nothing of them
    from foretoken.routers.others import Writer
    from foretoken.routers.outside import Outside

_NONE: Final = RoutersView(
    configured=False,
    name=None,
    connected=False,
    problem=None,
    shares_store=False,
    training=False,
    others=[],
)


def routers_view(outside: "Outside | None", now: float) -> RoutersView:
    """Say how this process stands with other routers.

    Args:
        outside: Connects it with them, ``None`` where there are none.
        now: By the service's clock.
    """
    if outside is None:
        return _NONE
    exchange = outside.exchange
    by_router: dict[str, list[Writer]] = {}
    for writer in exchange.writers.values():
        by_router.setdefault(writer.name.router, []).append(writer)
    return RoutersView(
        configured=True,
        name=exchange.name.router,
        connected=exchange.connected,
        problem=exchange.failure,
        shares_store=outside.shares_store,
        training=outside.lease.held.is_set(),
        others=[
            _other(name, writers, store=exchange.store, now=now)
            for name, writers in sorted(by_router.items())
        ],
    )


def _other(name: str, writers: "Iterable[Writer]", *, store: str, now: float) -> OtherRouterView:
    """Make one of a router's processes, of which there is one at least."""
    processes = list(writers)
    return OtherRouterView(
        name=name,
        heard_age_s=max(max(now - each.said_s, 0.0) for each in processes),
        same_store=all(each.store == store for each in processes),
        training=any(each.token for each in processes),
    )
