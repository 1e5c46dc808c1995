"""A simulated run recorded as the service records: every request a row of a trace.

Decides nothing: it looks on, and gives the rows the form they have in service. Called by
benchmarks and tests that want a trace whose truth is known.
"""

from dataclasses import replace

import pyarrow as pa

from collectors.trace_schema import to_table
from foretoken.simulation.arms import Arm, Brain
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor.types import RequestRecord


class Recording(Witness):
    """Keep the record of every request of one run that ended."""

    def __init__(self) -> None:
        self._records: list[RequestRecord] = []

    def ended(self, record: RequestRecord, now: float) -> None:  # noqa: ARG002  # as told
        """Keep it."""
        self._records.append(record)

    def table(self, *, epoch_s: float = 0.0) -> pa.Table:
        """Give the rows of a trace; the run began at ``epoch_s`` of Unix time."""
        return to_table(self._records, epoch_offset_s=epoch_s)


def recorded(arm: Arm, recording: Recording) -> Arm:
    """Let a recording look on while an arm decides."""

    def build(world: World) -> Brain:
        return replace(arm.build(world), witness=recording)

    return replace(arm, build=build)
