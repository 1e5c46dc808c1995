"""What a workload is sent to: declarative fleets of simulated endpoints."""

from simulator.fleets.faults import Crash, Fault, Flush, Hang, Replace, SlowDown
from simulator.fleets.fleet import (
    EndpointSpec,
    FleetSpec,
    SharedTier,
    fleet_names,
    load_fleet,
)

__all__ = [
    "Crash",
    "EndpointSpec",
    "Fault",
    "FleetSpec",
    "Flush",
    "Hang",
    "Replace",
    "SharedTier",
    "SlowDown",
    "fleet_names",
    "load_fleet",
]
