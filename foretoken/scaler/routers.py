"""What the routers say their fleets need, read from their metrics pages.

Each router tells of the whole demand it knows of and which share of that is its own, so
that shares add up to the whole, whether routers know of each other or not. A router that
does not answer is believed for a while as it last spoke: losing one must not shrink a
fleet. A host name stands for all addresses it resolves to, as a headless service's does.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import httpx
from prometheus_client.parser import text_string_to_metric_families

log = logging.getLogger(__name__)

BELIEVED_S: Final = 60.0
"""How long a router that does not answer counts as it last did: a restart, and more."""

MOST_BYTES: Final = 32 << 20
"""Of a page; one of a hundred endpoints has half a megabyte."""

_PREFIXES: Final = (
    "foretoken_fleet_needed_endpoints",
    "foretoken_fleet_demand_requests_per_second",
    "foretoken_demand_share_ratio",
    "foretoken_waiting_requests",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Say what one router makes of one fleet; ``None`` for unknown.

    Attributes:
        endpoints: Needed, a fraction included.
        demand_per_s: Requests that come.
        own_ratio: Share of both that is of this router.
        waiting_requests: That wait at it.
    """

    endpoints: float | None = None
    demand_per_s: float | None = None
    own_ratio: float = 1.0
    waiting_requests: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Say what all routers together make of one fleet.

    Attributes:
        endpoints: Needed, a fraction included; ``None`` where some router does not know.
        is_active: Whether requests come or wait, or nobody can tell.
    """

    endpoints: float | None
    is_active: bool


def read_page(text: str) -> dict[str, Need]:
    r"""Read what a metrics page says of each fleet, by its model.

    >>> read_page('foretoken_fleet_needed_endpoints{model_name="m"} 2.5\n')["m"].endpoints
    2.5
    """
    lines = (line for line in text.splitlines(keepends=True) if line.startswith(_PREFIXES))
    values: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families("".join(lines)):
        for sample in family.samples:
            of_model = values.setdefault(sample.labels.get("model_name", ""), {})
            of_model[sample.name] = of_model.get(sample.name, 0.0) + sample.value
    needed, demand, share, waiting = _PREFIXES
    return {
        model: Need(
            endpoints=told.get(needed),
            demand_per_s=told.get(demand),
            own_ratio=told.get(share, 1.0),
            waiting_requests=told.get(waiting, 0.0),
        )
        for model, told in values.items()
    }


def together(needs: Iterable[Need]) -> Whole:
    """Add up what routers need.

    >>> together([Need(endpoints=4.0, own_ratio=0.25), Need(endpoints=4.0, own_ratio=0.75)])
    Whole(endpoints=4.0, is_active=True)
    >>> together([Need(endpoints=1.0), Need(endpoints=2.0, demand_per_s=0.0)]).endpoints
    3.0
    """
    needs = list(needs)
    endpoints: float | None = 0.0
    for need in needs:
        if need.endpoints is None:
            # One that gets nothing has no trend, and needs nothing.
            if not need.demand_per_s and not need.waiting_requests and len(needs) > 1:
                continue
            endpoints = None
        elif endpoints is not None:
            endpoints += need.own_ratio * need.endpoints
    quiet = [one.demand_per_s == 0.0 and not one.waiting_requests for one in needs]
    return Whole(endpoints=endpoints if needs else None, is_active=not (needs and all(quiet)))


class Routers:
    """Ask routers again and again.

    Args:
        urls: Where they serve; a host name stands for all its addresses.
        client: Asks.
        clock: Seconds.
    """

    def __init__(
        self, urls: Iterable[str], client: httpx.AsyncClient, clock: Callable[[], float]
    ) -> None:
        self._urls = tuple(url.rstrip("/") for url in urls)
        self._client = client
        self._clock = clock
        self._heard: dict[str, tuple[float, Mapping[str, Need]]] = {}
        self._silent: set[str] = set()

    def models(self) -> tuple[str, ...]:
        """List the fleets that routers tell of, sorted."""
        return tuple(sorted({model for _, needs in self._heard.values() for model in needs}))

    def of(self, model: str) -> Whole:
        """Say what all routers together make of a fleet."""
        return together(needs[model] for _, needs in self._heard.values() if model in needs)

    async def look(self) -> None:
        """Ask all of them once."""
        places = [each for one in self._urls for each in await _addresses(one)]
        await asyncio.gather(*(self._ask(place, host) for place, host in dict(places).items()))
        now = self._clock()
        for place, (heard_s, _) in list(self._heard.items()):
            if now - heard_s > BELIEVED_S:
                del self._heard[place]
                self._silent.discard(place)

    async def _ask(self, place: str, host: str) -> None:
        try:
            answer = await self._client.get(f"{place}/metrics", headers={"host": host})
            answer.raise_for_status()
            if len(answer.content) > MOST_BYTES:
                raise ValueError(f"a page of {len(answer.content)} bytes")  # noqa: TRY301  # told below
            self._heard[place] = self._clock(), read_page(answer.text)
        except (httpx.HTTPError, ValueError) as error:
            if place not in self._silent:
                log.warning("router_silent", extra={"router": place, "problem": str(error)})
            self._silent.add(place)
        else:
            self._silent.discard(place)


async def _addresses(url: str) -> list[tuple[str, str]]:
    """Give the URL of each address a host name has, and what to call the host."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    if parts.scheme != "http":  # certificates are of names
        return [(url, parts.netloc)]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return [(url, parts.netloc)]  # asking it says what is wrong
    urls = []
    for family, _, _, _, address in found:
        name = f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
        urls.append((urlunsplit(parts._replace(netloc=f"{name}:{port}")), parts.netloc))
    return urls
