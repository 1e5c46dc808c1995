"""What happens to a cell's world meanwhile: plain values, so that a result can name them.

A scenario changes the fleet or the traffic a run is played on, never the run's settings.
Called by the runs' processes and by the parts that judge them.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from foretoken.simulation.comparison import load, rate_at
from foretoken.simulation.comparison import refusals as one_line
from simulator.fleets import EndpointSpec, Fault, FleetSpec
from simulator.workloads import Workload
from simulator.workloads.changing import Burst, Switched

WITHIN_S: Final = 0.001
"""A burst's requests arrive within this time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Say what is otherwise than the cell says.

    Attributes:
        name: In tables and file names.
        at_s: When it happens: what comes before is the warm-up.
        measure_s: Length of what is looked at from then on, ``None`` for the workload's own.
        endpoint: Whom ``fault`` befalls.
        fault: What befalls it.
        then: Workload that takes over, at the cell's load; ``None`` for none.
        burst: Requests that come at once; none come after them. 0 for no burst.
        scrape_interval_s: Between two scrapes, ``None`` for the fleet's own.
        scrape_delay_s: Until what a scrape shows is known, likewise.
    """

    name: str
    at_s: float | None = None
    measure_s: float | None = None
    endpoint: str | None = None
    fault: Fault | None = None
    then: str | None = None
    burst: int = 0
    scrape_interval_s: float | None = None
    scrape_delay_s: float | None = None

    def fleet(self, usual: FleetSpec) -> FleetSpec:
        """Give the fleet as it is in this scenario."""
        endpoints = tuple(self._endpoint(spec) for spec in usual.endpoints)
        interval_s, delay_s = self.scrape_interval_s, self.scrape_delay_s
        return replace(
            usual,
            endpoints=endpoints,
            scrape_interval_s=usual.scrape_interval_s if interval_s is None else interval_s,
            scrape_delay_s=usual.scrape_delay_s if delay_s is None else delay_s,
        )

    def workload(self, usual: Workload, fleet: FleetSpec, share: float, data: Path) -> Workload:
        """Give the traffic as it is in this scenario.

        Args:
            usual: The cell's workload.
            fleet: The cell's fleet.
            share: Of the fleet's capacity that another workload is sent at.
            data: Folder of recorded traces.

        Raises:
            SimulationRefused: Another workload cannot be read, its capacity is not known,
                or the traffic has no times to change at.
        """
        with one_line():
            if self.then is not None:
                other, _ = load(self.then, fleet.name, data)
                rate = rate_at(share, other, fleet)
                return Switched(usual, other, at_s=self.at_s or 0.0, rate=rate)
            if self.burst:
                at_s = self.at_s or 0.0
                return Burst(usual, at_s=at_s, requests=self.burst, within_s=WITHIN_S)
        return usual

    def _endpoint(self, spec: EndpointSpec) -> EndpointSpec:
        if self.fault is None or spec.name != self.endpoint:
            return spec
        return replace(spec, faults=(self.fault,))
