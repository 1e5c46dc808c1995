"""Find endpoints by the word of Kubernetes: a Service's EndpointSlices, or an InferencePool's pods.

Both have an owner (the Service, the pool) whose selector says which pods are looked at, so
that no more of a namespace is read than its endpoints. Of a pool the ready pods are the
endpoints; of a Service its slices name them and the pods only lend their labels: where pods
may not be read, endpoints come without. A copy of each is kept current by
:class:`~collectors.discovery.kubernetes_mirror.Mirror`; whatever changes in one, the whole
present set is made anew and told if it differs.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from collectors.discovery.drafts import Drafts
from collectors.discovery.kubernetes_api import ApiServer, Collection, open_api
from collectors.discovery.kubernetes_endpoints import Address, PortsUnclear, of_pods, of_slices
from collectors.discovery.kubernetes_events import I
from collectors.discovery.kubernetes_mirror import Mirror
from collectors.discovery.kubernetes_objects import EndpointSlice, InferencePool, Pod, Service
from collectors.discovery.settings import KubernetesDiscovery
from collectors.discovery.source import DiscoveryFailure, Found, SourceHealth, only_changes
from collectors.errors import EndpointUnusable
from collectors.settings import EndpointSettings

logger = logging.getLogger(__name__)

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its credentials."""

_POOL_GROUPS: Final = {
    "v1": "apis/inference.networking.k8s.io/v1",
    "v1alpha2": "apis/inference.networking.x-k8s.io/v1alpha2",
}
_MOST_LOGGED: Final = 1000  # things remembered as logged: no bound would be a leak

_Key = tuple[str, int | None, frozenset[tuple[str, str]]]
"""An address and what is said of it."""


class KubernetesSource:
    """Tell the endpoints of one Service or one InferencePool.

    Args:
        settings: Which, and where.
        health: Told how it goes.
        account: Folder of the service account.
        clock: Gives seconds.
        sleep: Waits; tests pass another.
        rng: Spreads the tries of many routers.
    """

    def __init__(
        self,
        settings: KubernetesDiscovery,
        health: SourceHealth,
        *,
        account: Path = SERVICE_ACCOUNT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._source = {"source": settings.name}
        self._parts = _Parts(health)
        self._account = account
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._drafts = Drafts(settings)
        self._made: dict[_Key, EndpointSettings | None] = {}
        self._logged: set[tuple[str, ...]] = set()

    async def run(self, found: Found) -> None:
        """Tell the whole present set on every change, until cancelled; may be run again."""
        async with asyncio.TaskGroup() as group:
            _Follower(self, self._settings, group, found).start()

    @property
    def named_ports(self) -> tuple[int | str, ...]:
        """Give the ports that the configuration chooses."""
        return self._settings.ports

    @property
    def wanted(self) -> tuple[int | str, ...]:
        """Give those, or the one it has for endpoints that come without."""
        settings = self._settings
        return settings.ports or (() if settings.port is None else (settings.port,))

    def mirror(self, collection: Collection[I], changed: Callable[[], None]) -> Mirror[I]:
        """Make a copy of a collection, yet empty."""
        return Mirror(
            collection,
            open_api=self._open,
            told=self._parts,
            changed=changed,
            watch_s=self._settings.watch_s,
            clock=self._clock,
            sleep=self._sleep,
            rng=self._rng,
        )

    def endpoints(self, addresses: Iterable[Address]) -> list[EndpointSettings]:
        """Make endpoints of addresses; what can be none is left out and logged once.

        Those made before are kept: this runs for all of them whenever one has changed, beside
        requests, and takes 3 ms for 500 instead of 11.
        """
        before, self._made = self._made, {}
        named: dict[str, EndpointSettings] = {}
        for address in addresses:
            key = (address.host, address.port, frozenset(address.labels.items()))
            made = before[key] if key in before else self._endpoint(address)
            self._made[key] = made
            if made is not None:
                named.setdefault(made.name, made)
        return list(named.values())

    def _endpoint(self, address: Address) -> EndpointSettings | None:
        try:
            return self._drafts.endpoint(*address)
        except EndpointUnusable as error:
            if self._is_news(error.at, error.reason):
                told = {"endpoint": error.at, "problem": error.reason}
                logger.warning("endpoint_unusable", extra={**self._source, **told})
            return None

    def unclear(self, ports: PortsUnclear) -> None:
        """Say that something has no port that is known to be meant."""
        names = ", ".join(name or "(unnamed)" for name in ports.names) or "none"
        wanted = ", ".join(map(str, self.wanted)) or "the only one"
        problem = f"{ports.at}: wanted is {wanted}, there are {names}; name one in ports"
        if self._is_news(problem):
            logger.warning("port_unclear", extra={**self._source, "problem": problem})

    def missing(self, kind: str, name: str) -> None:
        """Say that what is configured does not exist."""
        problem = f"there is no {name!r} among {kind}"
        if self._is_news(problem):
            logger.warning("discovery_missing", extra={**self._source, "problem": problem})

    def forget(self, part: str) -> None:
        """Hold nothing against a collection that is followed no more."""
        self._parts.forget(part)

    def _open(self) -> ApiServer:
        return open_api(self._settings, self._account)

    def _is_news(self, *what: str) -> bool:
        """Say whether something was not logged before."""
        if what in self._logged or len(self._logged) >= _MOST_LOGGED:
            return False
        self._logged.add(what)
        return True


class _Follower:
    """Follow an owner, the pods it selects and, of a Service, its slices."""

    def __init__(
        self,
        source: KubernetesSource,
        settings: KubernetesDiscovery,
        group: asyncio.TaskGroup,
        found: Found,
    ) -> None:
        self._source = source
        self._group = group
        self._tell = only_changes(found)
        self._owner: Mirror[Service] | Mirror[InferencePool]
        self._slices: Mirror[EndpointSlice] | None = None
        self._pods: Mirror[Pod] | None = None
        self._pods_task: asyncio.Task[None] | None = None
        self._selects: dict[str, str] = {}
        if settings.service is not None:
            self._name = settings.service
            self._owner = source.mirror(_service(settings.service), self._changed)
            self._slices = source.mirror(_slices(settings.service), self._changed)
        else:
            self._name = settings.pool or ""
            self._owner = source.mirror(_pool(self._name, settings.pool_api), self._changed)

    def start(self) -> None:
        """Begin to follow."""
        self._group.create_task(self._owner.run())
        if self._slices is not None:
            self._group.create_task(self._slices.run())

    def _changed(self) -> None:
        if self._owner.listed:
            owner = self._owner.items.get(self._name)
            self._select({} if owner is None else owner.selects)
            if owner is None:
                self._source.missing(self._owner.part, self._name)
        addresses = self._of_service() if self._slices is not None else self._of_pool()
        if addresses is not None:
            self._tell(self._source.endpoints(addresses))

    def _of_service(self) -> list[Address] | None:
        """Give the endpoints of the slices, ``None`` until all there is to know is known."""
        slices, pods, source = self._slices, self._pods, self._source
        if slices is None or not slices.listed or not self._owner.settled:
            return None
        if pods is not None and not pods.settled:
            return None
        known = {} if pods is None else pods.items
        return of_slices(slices.items.values(), known, source.wanted, source.unclear)

    def _of_pool(self) -> list[Address] | None:
        """Give the endpoints of the pods, ``None`` until all there is to know is known."""
        pods, source = self._pods, self._source
        pool = self._owner.items.get(self._name)
        if not self._owner.listed or (pods is not None and not pods.listed):
            return None
        if pods is None or not isinstance(pool, InferencePool):
            return []
        ports = source.named_ports or pool.ports or source.wanted
        return of_pods(pods.items.values(), ports, source.unclear)

    def _select(self, labels: dict[str, str]) -> None:
        """Follow the pods with such labels; with none, none."""
        if labels == self._selects:
            return
        self._selects = labels
        if self._pods_task is not None:
            self._pods_task.cancel()
            self._source.forget("pods")
        self._pods = self._pods_task = None
        if labels:
            self._pods = self._source.mirror(_pods(labels), self._changed)
            self._pods_task = self._group.create_task(self._pods.run())


def _service(name: str) -> Collection[Service]:
    return Collection(group="api/v1", plural="services", kind=Service, name=name)


def _slices(service: str) -> Collection[EndpointSlice]:
    return Collection(
        group="apis/discovery.k8s.io/v1",
        plural="endpointslices",
        kind=EndpointSlice,
        labels=f"kubernetes.io/service-name={service}",
    )


def _pool(name: str, version: str) -> Collection[InferencePool]:
    return Collection(
        group=_POOL_GROUPS[version], plural="inferencepools", kind=InferencePool, name=name
    )


def _pods(labels: Mapping[str, str]) -> Collection[Pod]:
    selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return Collection(group="api/v1", plural="pods", kind=Pod, labels=selector)


class _Parts:
    """Say how a source does that listens to several collections: well, where all do."""

    def __init__(self, health: SourceHealth) -> None:
        self._health = health
        self._problems: dict[str, str] = {}

    def heard(self, part: str) -> None:
        self._problems.pop(part, None)
        if not self._problems:
            self._health.heard()

    def failed(self, part: str, reason: DiscoveryFailure, problem: str) -> None:
        self._problems[part] = problem
        told = "; ".join(f"{part}: {self._problems[part]}" for part in sorted(self._problems))
        self._health.failed(reason, told)

    def forget(self, part: str) -> None:
        self._problems.pop(part, None)
