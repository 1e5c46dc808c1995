"""Requests of one priority band that wait, fair between tenants, most urgent first within.

Start-time fair queueing in predicted seconds: each tenant stands where what was served of
it ends, the one that stands first is next, and it is as late as where that one stood. Who
had nothing to wait for begins where it is that late, and nobody lags by more than a few
requests: what could not be used for long is no credit. Within a tenant the earliest deadline goes
first. Predicted output length decides what a request costs its tenant, never its place.
Called by the flow control only.

Source: Goyal, Vin and Cheng, Start-time fair queueing: a scheduling algorithm for
integrated services packet switching networks (1996).
"""

import math
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count
from typing import Final

from predictor.types import RequestFeatures

MOST_LAG: Final = 10.0
"""Of its requests a tenant stands at most so many behind the one that was served last: where
several queues serve a few each in turns, it comes to that."""
MOST_GONE: Final = 1000
"""Tenants that have nothing waiting any more, but were served ahead of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Hold one waiting request.

    Attributes:
        request: As it came in.
        since_s: When it began to wait.
        due_s: The earlier, the sooner its tenant's others let it pass.
        expires_s: When it is waited for no longer.
        cost_s: What serving it takes, in predicted seconds, above 0.
    """

    request: RequestFeatures
    since_s: float
    due_s: float
    expires_s: float
    cost_s: float

    @property
    def request_id(self) -> str:
        """Name the request."""
        return self.request.request_id


@dataclass(slots=True, kw_only=True)
class _Tenant:
    start_s: float
    waiting: dict[str, Waiting] = field(default_factory=dict)  # in order of arrival
    by_deadline: list[tuple[float, int, Waiting]] = field(default_factory=list)

    def first(self) -> Waiting:
        """Give the one with the earliest deadline; there is one."""
        while self.by_deadline[0][2].request_id not in self.waiting:
            heappop(self.by_deadline)  # it has left
        return self.by_deadline[0][2]

    @property
    def postponed(self) -> bool:
        """Say whether all of its requests are; there is one."""
        self.first()
        return self.by_deadline[0][0] == math.inf


class FairQueue:
    """Keep waiting requests and say whose turn it is.

    Args:
        virtual_s: How late it is.

    Attributes:
        virtual_s: Likewise: where the tenant stood that was served last.

    >>> queue = FairQueue()
    >>> for name, tenant, cost_s in (("a1", "a", 4.0), ("a2", "a", 4.0), ("b1", "b", 1.0)):
    ...     request = RequestFeatures(request_id=name, arrived_s=0.0, model="m", tenant=tenant)
    ...     queue.add(Waiting(request=request, since_s=0, due_s=1, expires_s=1, cost_s=cost_s))
    >>> for _ in range(3):
    ...     first = queue.turns()[0]
    ...     print(first.request_id, queue.serve(first))
    a1 0.0
    b1 0.0
    a2 4.0
    """

    def __init__(self, virtual_s: float = 0.0) -> None:
        self.virtual_s = virtual_s
        self._tenants: dict[str | None, _Tenant] = {}  # among equals the first goes first
        self._gone: dict[str | None, float] = {}  # where those stand that have nothing here
        self._size = 0
        self._arrivals = count()

    def __len__(self) -> int:
        return self._size

    def add(self, waiting: Waiting) -> None:
        """Take in a request; a tenant that had none is last among those that stand there."""
        name = waiting.request.tenant
        tenant = self._tenants.get(name)
        if tenant is None:
            start_s = max(self._gone.pop(name, self.virtual_s), self.virtual_s)
            tenant = self._tenants[name] = _Tenant(start_s=start_s)
        tenant.waiting[waiting.request_id] = waiting
        heappush(tenant.by_deadline, (waiting.due_s, next(self._arrivals), waiting))
        self._size += 1

    def remove(self, waiting: Waiting) -> None:
        """Take a request out that is no longer to be served, wherever it stands."""
        name = waiting.request.tenant
        tenant = self._tenants[name]
        del tenant.waiting[waiting.request_id]
        self._size -= 1
        if not tenant.waiting:
            del self._tenants[name]
            self._remember(name, tenant.start_s)
        elif len(tenant.by_deadline) > 2 * len(tenant.waiting) + 16:
            tenant.by_deadline = [
                e for e in tenant.by_deadline if e[2].request_id in tenant.waiting
            ]
            heapify(tenant.by_deadline)  # those who left must not pile up

    def serve(self, waiting: Waiting) -> float:
        """Take a request out that is served, at its tenant's cost; say where that stood."""
        name = waiting.request.tenant
        tenant = self._tenants[name]
        start_s = self.start_s(waiting)
        self.virtual_s = max(self.virtual_s, start_s)
        tenant.start_s = start_s + waiting.cost_s
        self.remove(waiting)
        if name in self._tenants:
            self._tenants[name] = self._tenants.pop(name)
        return start_s

    def served_elsewhere(self, name: str | None, start_s: float, cost_s: float) -> None:
        """Have a tenant pay for what another queue has served of it, where it stood there."""
        self.virtual_s = max(self.virtual_s, start_s)
        tenant = self._tenants.get(name)
        if tenant is not None:
            tenant.start_s = max(tenant.start_s, start_s) + cost_s
        else:
            self._remember(name, max(self._gone.get(name, start_s), start_s) + cost_s)

    def start_s(self, waiting: Waiting) -> float:
        """Say where a request's tenant stands with this one next."""
        least_s = self.virtual_s - MOST_LAG * waiting.cost_s
        return max(self._tenants[waiting.request.tenant].start_s, least_s)

    def postpone(self, waiting: Waiting) -> Waiting | None:
        """Put a tenant's first request behind its others, for it cannot go where they can.

        Returns:
            Its next one, ``None`` when all of them are postponed; the tenant is then behind
            the others.
        """
        name = waiting.request.tenant
        tenant = self._tenants[name]
        heapreplace(tenant.by_deadline, (math.inf, next(self._arrivals), waiting))
        if tenant.postponed:
            self._tenants[name] = self._tenants.pop(name)
            return None
        return tenant.first()

    def reinstate(self) -> None:
        """Put those that were postponed where their deadlines put them."""
        for tenant in self._tenants.values():
            tenant.by_deadline = [
                (one.due_s, next(self._arrivals), one) for one in tenant.waiting.values()
            ]
            heapify(tenant.by_deadline)

    def turns(self) -> list[Waiting]:
        """Give every tenant's most urgent request, in the order of turns; changes nothing."""
        tenants = list(self._tenants.values())
        if len(tenants) > 1:  # stable: whoever was served last comes last among equals
            tenants.sort(key=self._place_s)
        return [tenant.first() for tenant in tenants]

    def oldest(self) -> Waiting:
        """Give the request that has waited for longest; there is one."""
        firsts = (next(iter(tenant.waiting.values())) for tenant in self._tenants.values())
        return min(firsts, key=lambda waiting: waiting.since_s)

    def _place_s(self, tenant: _Tenant) -> float:
        """Give where a tenant stands, infinite for one that cannot go anywhere."""
        return math.inf if tenant.postponed else self.start_s(tenant.first())

    def _remember(self, name: str | None, start_s: float) -> None:
        """Keep where a tenant stands that may come again before it is that late."""
        self._gone.pop(name, None)
        if start_s > self.virtual_s:
            self._gone[name] = start_s
            if len(self._gone) > MOST_GONE:
                del self._gone[next(iter(self._gone))]
