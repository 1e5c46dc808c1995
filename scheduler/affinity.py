"""Where a request would rather go, all else equal: its conversation's endpoint, its adapter's.

Both are preferences among near-ties of the predicted-latency policy, before cache and
load: what a conversation shares is mostly in the prefix match, and counted in seconds
there; what is left (images, what the index has lost, state outside the KV cache) has no
number, and neither has the time to load an adapter. Written by the scheduler at every
dispatch, read by the decider.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from predictor.types import EndpointState, FloatArray
from scheduler.adapters import Adapters
from scheduler.live import LiveRequest
from scheduler.sessions import Sessions

# The conversation's endpoint has the adapter anyway; one with the adapter comes next.
SESSION_WEIGHT: Final = 2.0


class Affinity:
    """Hold sessions and adapters; both are forgotten with their endpoint."""

    def __init__(self) -> None:
        self._sessions = Sessions()
        self._adapters = Adapters()

    def sent(self, live: LiveRequest, endpoint: str) -> None:
        """Note where a request goes."""
        if live.request.session_id is not None:
            self._sessions.sent(live.fleet.model, live.request.session_id, endpoint)
        adapter = _adapter(live)
        if adapter is not None:
            self._adapters.sent(adapter, endpoint)

    def sent_elsewhere(self, fleet: str, model: str, session_id: str | None, endpoint: str) -> None:
        """Note where another worker sent a request of a fleet that asked for ``model``."""
        if session_id is not None:
            self._sessions.sent(fleet, session_id, endpoint)
        if model != fleet:
            self._adapters.sent(model, endpoint)

    def see(self, state: EndpointState) -> None:
        """Take in what an endpoint tells."""
        self._adapters.see(state)

    def forget(self, endpoint: str) -> None:
        """Forget an endpoint that has left or restarted."""
        self._sessions.forget(endpoint)
        self._adapters.forget(endpoint)

    def session_endpoint(self, live: LiveRequest) -> str | None:
        """Give the endpoint the request's conversation was last sent to, if known."""
        session_id = live.request.session_id
        return None if session_id is None else self._sessions.endpoint(live.fleet.model, session_id)

    def preference(
        self, live: LiveRequest, names: Sequence[str], *, session: str | None
    ) -> FloatArray | None:
        """Say how much the request would rather go to each endpoint, ``(n,)``.

        Args:
            live: The request.
            names: The ``n`` candidates.
            session: The conversation's endpoint, ``None`` for none.

        Returns:
            Larger is better; ``None`` where it is all the same.
        """
        adapter = _adapter(live)
        if adapter is None and session is None:
            return None
        preferred = np.zeros(len(names))
        if adapter is not None:
            preferred += [self._adapters.holds(adapter, name) for name in names]
        if session in names:
            preferred[names.index(session)] += SESSION_WEIGHT
        return preferred


def _adapter(live: LiveRequest) -> str | None:
    """Name the adapter a request asks for, ``None`` for the base model itself."""
    asked = live.request.model
    return asked if asked and asked != live.fleet.model else None
