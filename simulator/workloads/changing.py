"""Workloads whose traffic changes at a time: another takes over, or many come at once.

Decides only what is sent when; both halves are workloads of their own, in open loops.
Called by benchmarks, which look at what a router makes of the change.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain as joined
from itertools import takewhile
from pathlib import Path
from typing import Final, Literal

from simulator.errors import WorkloadInvalid
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads.workload import Workload

_OTHER: Final = 1 << 60
"""Flipped in the content ids of what takes over: it shares no prompt with what was before."""


class _Changing(Workload):
    """Behave as ``base`` but for the traffic.

    Raises:
        WorkloadInvalid: It is a closed loop, whose requests have no times to change at.
    """

    def __init__(self, name: str, base: Workload, at_s: float) -> None:
        super().__init__(name, name, base.spec, Path())
        _refuse_closed(base)
        self._base = base
        self._at_s = at_s

    @property
    def loop(self) -> Literal["open", "closed"]:
        """Tell that every request has its time."""
        return "open"

    @property
    def rate(self) -> float | None:
        """Give the rate where none is asked for: the workload's own."""
        return self._base.rate

    def check_fits(self, limit_tokens: int) -> None:
        """Refuse a fleet that cannot hold the longest request.

        Args:
            limit_tokens: Most tokens of one request, prompt and output.

        Raises:
            WorkloadTooLong: As for the workload itself.
        """
        self._base.check_fits(limit_tokens)

    def _first(self, chains: Iterable[Iterable[TrafficRequest]]) -> list[Chain]:
        """Cut chains off at the change."""
        return [takewhile(lambda one: _at(one) < self._at_s, chain) for chain in chains]


class Switched(_Changing):
    """Send one workload and, from a time on, another.

    Windows and objective are those of the second.

    Args:
        before: Sent first.
        after: Takes over.
        at_s: When.
        rate: Requests a second of the second.

    Raises:
        WorkloadInvalid: One is a closed loop, whose requests have no times to switch at.
    """

    def __init__(self, before: Workload, after: Workload, *, at_s: float, rate: float) -> None:
        super().__init__(f"{before.name} then {after.name}", before, at_s)
        _refuse_closed(after)
        self.spec = after.spec
        self._after = after
        self._rate_after = rate

    def check_fits(self, limit_tokens: int) -> None:
        """Refuse a fleet that cannot hold the longest request of either.

        Args:
            limit_tokens: Most tokens of one request, prompt and output.

        Raises:
            WorkloadTooLong: As for either.
        """
        super().check_fits(limit_tokens)
        self._after.check_fits(limit_tokens)

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic; ``rate`` is the first one's."""
        sent = self._base.chains(seed=seed, rate=rate, until_s=until_s)
        left_s = max(until_s - self._at_s, 0.0)
        coming = self._after.chains(seed=seed, rate=self._rate_after, until_s=left_s)
        return [*self._first(sent), *(self._later(chain) for chain in coming)]

    def _later(self, chain: Chain) -> Iterator[TrafficRequest]:
        for request in chain:
            yield replace(
                request,
                session_id=f"then-{request.session_id}",
                segments=tuple((content ^ _OTHER, count) for content, count in request.segments),
                answer_id=request.answer_id ^ _OTHER,
                at_s=_at(request) + self._at_s,
            )


class Burst(_Changing):
    """Send a workload until a time, then its next requests all at once, then nothing.

    Those of the burst wait for nobody: each is the prompt it would have been, caches and
    all, whether or not the answer before it has come.

    Args:
        base: Sent until then.
        at_s: When the burst begins.
        requests: How many it has.
        within_s: They arrive evenly spaced over this time.

    Raises:
        WorkloadInvalid: It is a closed loop, or too few requests follow to make the burst.
    """

    def __init__(self, base: Workload, *, at_s: float, requests: int, within_s: float) -> None:
        super().__init__(f"{base.name} with a burst", base, at_s)
        self._requests = requests
        self._within_s = within_s

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic."""
        written = [list(one) for one in self._base.chains(seed=seed, rate=rate, until_s=until_s)]
        every = sorted(joined.from_iterable(written), key=_at)
        following = [one for one in every if _at(one) >= self._at_s][: self._requests]
        if len(following) < self._requests:
            problem = f"only {len(following)} requests follow within {until_s:g} s"
            raise WorkloadInvalid(self.name, problem)
        gap_s = self._within_s / self._requests
        burst = (
            iter([replace(one, at_s=self._at_s + number * gap_s, think_s=0.0)])
            for number, one in enumerate(following)
        )
        return [*self._first(written), *burst]


def _refuse_closed(workload: Workload) -> None:
    if workload.loop == "closed":
        raise WorkloadInvalid(workload.name, "is a closed loop: it cannot change at a time")


def _at(request: TrafficRequest) -> float:
    return request.at_s or 0.0
