"""What the scheduler asks of whoever drives it: dispatch, wait or shed.

Returned by :class:`scheduler.scheduler.Scheduler`, carried out by the proxy, the
Envoy picker or the simulator. They hold no behaviour.
"""

from typing import Literal, NamedTuple

from predictor.types import Decision, RequestRecord
from predictor.values import Value

ShedReason = Literal[
    "objective_infeasible",
    "queue_full",
    "tenant_queue_full",
    "queue_timeout",
    "no_endpoint",
    "retries_exhausted",
    "retry_budget_exhausted",
]
"""Why a request is refused.

``objective_infeasible``: no endpoint meets its objective and its tier may be refused.
``queue_full``, ``tenant_queue_full``: it would have to wait, and too many do, in all or of
its tenant. ``queue_timeout``: it waited as long as it may. ``no_endpoint``: none is there
for it. ``retries_exhausted``: every dispatch failed. ``retry_budget_exhausted``: its
dispatch failed while too many requests of its fleet were being dispatched again already.
"""

WaitReason = Literal["no_endpoint", "endpoints_full", "objectives_at_risk", "behind_others"]
"""Why a request waits.

``no_endpoint``: all that serve it are down, draining or left alone. ``endpoints_full``:
it would only queue there. ``objectives_at_risk``: it would break what others were promised,
or, after a standstill, come all at once. ``behind_others``: such a one waits already.
"""


class Dispatch(Value):
    """Send the request to an endpoint; its tokens are already booked there.

    Attributes:
        request_id: Which request.
        endpoint: Name of the endpoint.
        url: Its base URL.
        decision: What was known and why it was chosen.
        attempt: 1 for the first dispatch of the request.
    """

    request_id: str
    endpoint: str
    url: str
    decision: Decision
    attempt: int


class Wait(Value):
    """Hold the request; a later ``tick`` dispatches or sheds it.

    Attributes:
        request_id: Which request.
        deadline_s: When ``tick`` decides at the latest.
        reason: Why, from a small closed set.
    """

    request_id: str
    deadline_s: float
    reason: WaitReason = "no_endpoint"


class Standing(NamedTuple):
    """Tell of one request that waits.

    Attributes:
        model: Base model of its fleet.
        tier: As asked for, ``None`` for the default one.
        reason: Why.
        since_s: Since when.
        tenant: Whom it is for.
    """

    model: str
    tier: str | None
    reason: WaitReason
    since_s: float
    tenant: str | None = None


class Shed(Value):
    """Refuse the request; it is forgotten already.

    Attributes:
        record: Its story, complete.
        reason: Why, from a small closed set.
        retry_after_s: When trying again makes sense, ``None`` where nobody can tell.
    """

    record: RequestRecord
    reason: ShedReason
    retry_after_s: float | None = None

    @property
    def request_id(self) -> str:
        """Name the request."""
        return self.record.request.request_id


Action = Dispatch | Wait | Shed
