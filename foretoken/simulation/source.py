"""Where the requests of a run come from: a workload, or a recorded trace."""

from typing import Protocol

from simulator.traffic import Chain
from simulator.workloads import WorkloadObjective


class Source(Protocol):
    """Say what clients send: a workload, or a recording."""

    @property
    def name(self) -> str:
        """Name it in tables."""

    @property
    def objective(self) -> WorkloadObjective:
        """Give the targets of goodput."""

    @property
    def warmup_s(self) -> float:
        """Give the length of the transient."""

    @property
    def measure_s(self) -> float:
        """Give the length of the window that is measured."""

    def check_fits(self, limit_tokens: int) -> None:
        """Refuse endpoints that hold no more tokens of one request than this."""

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the requests."""
