"""Which endpoints a request may go to.

Those of its model, and of the adapter it may ask for, that are up, decode, are not draining and
not excluded; doubtful ones (suspect, or not scraped for long) only where no other is left,
those not scraped first. Who serves a name changes rarely and is remembered between
decisions. Called by the scheduler only.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from predictor.types import EndpointState
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.live import LiveRequest
from scheduler.suspects import Suspects


class Eligibility:
    """Tell where requests may go.

    Args:
        table: Knows when each endpoint was scraped.
        suspects: Knows which failed.
        stale_after_s: As below.

    Attributes:
        stale_after_s: A scrape older than this makes an endpoint doubtful.
    """

    def __init__(self, *, table: EndpointTable, suspects: Suspects, stale_after_s: float) -> None:
        self.stale_after_s = stale_after_s
        self._table = table
        self._suspects = suspects
        self._states: Mapping[str, EndpointState] = {}
        # By model and name asked for: up and not draining. The scheduler refuses other names.
        self._open: dict[tuple[str, str], Members] = {}
        # Of these, when the one was scraped that was not for longest.
        self._oldest_s: dict[tuple[str, str], float] = {}

    def update(self, states: Mapping[str, EndpointState]) -> bool:
        """Take in the whole present set of endpoints; say whether who may go where changed."""
        before, self._states = self._states, states
        changed = list(before) != list(states) or any(
            _standing(states[name]) != _standing(known)
            for name, known in before.items()
            if states[name] is not known
        )
        if changed:
            self._open.clear()
        self._oldest_s.clear()
        return changed

    def served(self, live: LiveRequest) -> bool:
        """Say whether any endpoint serves the request's model, whatever its state."""
        model, asked = live.fleet.model, live.request.model
        allowed = live.request.allowed_endpoints
        return any(
            _serves(state, model, asked)
            and _answers(state)
            and (allowed is None or name in allowed)
            for name, state in self._states.items()
        )

    def eligible(self, live: LiveRequest, now: float) -> Members:
        """List where the request may go, in the order endpoints were told in."""
        names = live.fleet.model, live.request.model
        members = self._members(names)
        if live.request.allowed_endpoints is not None or live.tried or self._suspects:
            return self._undoubted(self._open_to(live, members, now), now)
        oldest_s = self._oldest_s.get(names)
        if oldest_s is None:
            scraped_s = self._table.scraped_s(members.rows)
            oldest_s = self._oldest_s[names] = float(np.fmin.reduce(scraped_s, initial=np.inf))
        # Mostly all were scraped just now, which need not be looked at one by one.
        return members if now - oldest_s <= self.stale_after_s else self._undoubted(members, now)

    def _open_to(self, live: LiveRequest, members: Members, now: float) -> Members:
        """Leave out those that the request may not use, or that cannot be reached."""
        allowed, suspects = live.request.allowed_endpoints, self._suspects
        return members.only(
            [
                position
                for position, name in enumerate(members.names)
                if (allowed is None or name in allowed)
                and name not in live.tried
                and not suspects.is_unreachable(name, now)
            ]
        )

    def _undoubted(self, members: Members, now: float) -> Members:
        """Leave out those in doubt, unless all are."""
        if not members:
            return members
        stale = now - self._table.scraped_s(members.rows) > self.stale_after_s
        if not self._suspects:
            return _best(members, stale)
        # An endpoint that failed is worse than one that nobody has looked at.
        suspect = np.array([self._suspects.is_suspect(name, now) for name in members.names])
        return _best(members, stale + 2 * suspect)

    def has_other(self, live: LiveRequest, endpoint: str, now: float) -> bool:
        """Say whether the request may go to another endpoint, and one that is not suspect."""
        allowed, suspects = live.request.allowed_endpoints, self._suspects
        return any(
            name != endpoint
            and (allowed is None or name in allowed)
            and name not in live.tried
            and not suspects.is_suspect(name, now)
            for name in self._members((live.fleet.model, live.request.model)).names
        )

    def _members(self, names: tuple[str, str]) -> Members:
        known = self._open.get(names)
        if known is None:
            known = self._open[names] = self._table.members(
                state
                for state in self._states.values()
                if _serves(state, *names) and state.up and not state.draining and _answers(state)
            )
        return known


def _best(members: Members, doubt: NDArray[np.generic]) -> Members:
    """Keep those that are doubted least, ``doubt`` being ``(n,)``."""
    if not np.count_nonzero(doubt):
        return members
    least = doubt == doubt.min()
    if least.all():
        return members
    return members.only(np.flatnonzero(least).tolist())


def _serves(state: EndpointState, model: str, asked: str) -> bool:
    """Say whether an endpoint of a model answers to the name asked for, empty for the model."""
    return state.model == model and (asked in {model, ""} or asked in state.adapters)


def _answers(state: EndpointState) -> bool:
    """Say whether an endpoint decodes, and so answers clients."""
    return state.role not in {"prefill", "encode"}


def _standing(
    state: EndpointState,
) -> tuple[str | None, tuple[str, ...], bool, bool, str | None, str | None, int]:
    return (
        state.model,
        state.adapters,
        state.up,
        state.draining,
        state.hardware,
        state.role,
        state.priority_class,
    )
