"""What tests of sources share: counts that remember, and a run that ends."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from collectors.discovery import DiscoveryFailure, Source, SourceHealth
from collectors.settings import EndpointSettings


class Counts:
    def __init__(self) -> None:
        self.heard_times = 0
        self.failures: list[DiscoveryFailure] = []

    def heard(self, source: str) -> None:
        self.heard_times += 1

    def failed(self, source: str, reason: DiscoveryFailure) -> None:
        self.failures.append(reason)

    def health(self) -> SourceHealth:
        return SourceHealth("test", self)


class Rests:
    """Play a scenario, a step at each rest of a source; then end it."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.seconds: list[float] = []
        self._steps = iter(steps)

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        step = next(self._steps, None)
        if step is None:
            raise asyncio.CancelledError
        done = step()
        if isinstance(done, Awaitable):
            await done


def nothing() -> None:
    """Let a source rest once more."""


def told_by(source: Source) -> list[list[str]]:
    """Give the sets that a source tells, by name, until its rests are over."""
    told: list[list[str]] = []

    def found(endpoints: Sequence[EndpointSettings]) -> None:
        told.append([endpoint.name for endpoint in endpoints])

    async def run() -> None:
        try:
            await source.run(found)
        except asyncio.CancelledError:
            return

    asyncio.run(run())
    return told
