"""What the scheduler asks of whoever drives it: dispatch, wait or shed.

Returned by :class:`scheduler.scheduler.Scheduler`, carried out by the proxy, the
Envoy picker or the simulator. They hold no behaviour.
"""

from dataclasses import dataclass
from typing import Literal

from predictor.types import Decision, RequestRecord

ShedReason = Literal[
    "objective_infeasible",
    "queue_full",
    "queue_timeout",
    "no_endpoint",
    "retries_exhausted",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Hold the request; a later ``tick`` dispatches or sheds it.

    Attributes:
        request_id: Which request.
        deadline_s: When ``tick`` gives it up at the latest.
    """

    request_id: str
    deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Shed:
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
