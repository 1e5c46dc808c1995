"""Requests of one priority band that wait, fair between tenants, most urgent first within.

Deficit round robin in predicted seconds, with rounds as small as can be: all tenants earn
credit alike, and the first that can pay for its most urgent request is served. Within a
tenant the earliest deadline goes first. Predicted output length decides what a request
costs its tenant, never its place. Called by the flow control only.

Source: Shreedhar and Varghese, Efficient fair queuing using deficit round robin (1995).
"""

import math
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace
from itertools import count

from predictor.types import RequestFeatures


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
    credit_s: float = 0.0
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

    >>> queue = FairQueue()
    >>> for name, tenant, cost_s in (("a1", "a", 4.0), ("a2", "a", 4.0), ("b1", "b", 1.0)):
    ...     request = RequestFeatures(request_id=name, arrived_s=0.0, model="m", tenant=tenant)
    ...     queue.add(Waiting(request=request, since_s=0, due_s=1, expires_s=1, cost_s=cost_s))
    >>> for _ in range(3):
    ...     first = queue.turns()[0]
    ...     queue.serve(first)
    ...     print(first.request_id)
    b1
    a1
    a2
    """

    def __init__(self) -> None:
        self._tenants: dict[str | None, _Tenant] = {}  # the one whose turn it is first
        self._size = 0
        self._arrivals = count()

    def __len__(self) -> int:
        return self._size

    def add(self, waiting: Waiting) -> None:
        """Take in a request; a tenant that had none queues up last."""
        tenant = self._tenants.setdefault(waiting.request.tenant, _Tenant())
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
        elif len(tenant.by_deadline) > 2 * len(tenant.waiting) + 16:
            tenant.by_deadline = [
                e for e in tenant.by_deadline if e[2].request_id in tenant.waiting
            ]
            heapify(tenant.by_deadline)  # those who left must not pile up

    def serve(self, waiting: Waiting) -> None:
        """Take a request out that is served, at its tenant's cost."""
        name = waiting.request.tenant
        payer = self._tenants[name]
        earned_s = max(waiting.cost_s - payer.credit_s, 0.0)
        for tenant in self._tenants.values():
            # More than it can use now would be a burst later.
            most_s = max(tenant.first().cost_s, tenant.credit_s)
            tenant.credit_s = min(tenant.credit_s + earned_s, most_s)
        payer.credit_s = max(payer.credit_s - waiting.cost_s, 0.0)
        self.remove(waiting)
        if name in self._tenants:
            self._tenants[name] = self._tenants.pop(name)

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
            tenants.sort(key=_until_its_turn_s)
        return [tenant.first() for tenant in tenants]

    def oldest(self) -> Waiting:
        """Give the request that has waited for longest; there is one."""
        firsts = (next(iter(tenant.waiting.values())) for tenant in self._tenants.values())
        return min(firsts, key=lambda waiting: waiting.since_s)


def _until_its_turn_s(tenant: _Tenant) -> float:
    """Give what a tenant has still to earn, infinite for one that cannot go anywhere."""
    return math.inf if tenant.postponed else tenant.first().cost_s - tenant.credit_s
