"""Where a request may go, before anyone asks where it should.

Called by the scheduler only.
"""

from collections.abc import Iterable

from predictor.types import EndpointState
from scheduler.live import LiveRequest
from scheduler.suspects import Suspects


def serving(states: Iterable[EndpointState], live: LiveRequest) -> list[EndpointState]:
    """List the endpoints that serve the request's model, whatever their state."""
    model, allowed = live.fleet.model, live.request.allowed_endpoints
    return [
        state
        for state in states
        if state.model == model and (allowed is None or state.endpoint in allowed)
    ]


def eligible(
    states: Iterable[EndpointState],
    live: LiveRequest,
    suspects: Suspects,
    *,
    now: float,
    stale_after_s: float,
) -> tuple[EndpointState, ...]:
    """List where the request may go; doubtful endpoints only where no other is left.

    An endpoint is doubtful when it failed lately or was not scraped for ``stale_after_s``.
    """
    usable = [
        state
        for state in serving(states, live)
        if state.up
        and not state.draining
        and state.endpoint not in live.tried
        and not suspects.is_unreachable(state.endpoint, now)
    ]
    sound = [
        state
        for state in usable
        if not (state.scraped_s is not None and now - state.scraped_s > stale_after_s)
        and not suspects.is_suspect(state.endpoint, now)
    ]
    return tuple(sound or usable)
