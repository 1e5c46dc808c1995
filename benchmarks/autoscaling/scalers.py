"""What decides how many endpoints there shall be: the usual signals, and ours.

Each reads what its counterpart in a cluster reads, every 15 s, and is turned into a number
of endpoints by the same rules (:mod:`foretoken.simulation.scaling`).
"""

from foretoken.simulation.scaling import View


class OnWaiting:
    """Hold the requests that wait at a number for each endpoint.

    KEDA's usual trigger for vLLM: ``sum(vllm:num_requests_waiting)`` with a threshold,
    ``AverageValue``. Whoever waits here for an endpoint counts too.

    Args:
        target: Requests that may wait for each endpoint.
    """

    def __init__(self, target: float) -> None:
        self._target = target

    def wanted(self, view: View) -> float:
        """Give the requests that wait over the target."""
        return view.waiting_requests / self._target


class OnWaitingStep:
    """Add an endpoint while requests wait, take one away while none does and batches are small.

    Queue length with memory, as a step policy on two alarms does it: the sum alone asks for
    next to nothing whenever no queue is left.

    Args:
        target: Requests that may wait for each endpoint.
        least_running: Requests in each batch below which there is one too many.
    """

    def __init__(self, target: float, least_running: float) -> None:
        self._target = target
        self._least = least_running

    def wanted(self, view: View) -> float:
        """Give one more, one fewer, or as many; by the queue's length where it is long."""
        there = view.endpoints
        if view.waiting_requests > self._target * there:
            return there + max(1.0, 0.2 * there)
        if not view.waiting_requests and view.running_requests < self._least * (there - 1):
            return there - 1.0
        return float(there)


class OnInflight:
    """Hold the requests in flight at a number for each endpoint: running and waiting.

    Args:
        target: Requests for each.
    """

    def __init__(self, target: float) -> None:
        self._target = target

    def wanted(self, view: View) -> float:
        """Give the requests in flight over the target."""
        return (view.running_requests + view.waiting_requests) / self._target


class OnOutlook:
    """Give the fleet what the router says it needs: what KEDA is told by ``foretoken scaler``."""

    def wanted(self, view: View) -> float | None:
        """Give the endpoints needed, ``None`` while nobody can tell."""
        fleets = list(view.scheduler.fleets.values())
        if not fleets:
            return None
        desired = view.scheduler.outlook(fleets[0], view.now).desired
        return None if desired is None else float(desired)
