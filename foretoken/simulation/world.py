"""What is true inside a simulated fleet, for those who may know it.

The virtual-time driver writes it. Arms that are references (oracles, ideal physics) read
it; no policy under test is given it.
"""

from dataclasses import dataclass, field

from simulator.engine import Engine
from simulator.fleets import FleetSpec
from simulator.types import SimRequest


@dataclass(slots=True, kw_only=True)
class World:
    """Hold the truth about one run.

    Attributes:
        fleet: What the fleet is made of.
        engines: Every endpoint's engine by endpoint name.
        requests: What every request alive really is, by id: its output length too.
        now_s: Virtual time.
    """

    fleet: FleetSpec
    engines: dict[str, Engine]
    requests: dict[str, SimRequest] = field(default_factory=dict)
    now_s: float = 0.0
