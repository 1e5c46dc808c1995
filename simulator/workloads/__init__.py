"""What is sent to a simulated fleet: declarative workloads and recorded traces."""

from simulator.workloads.foreign import TraceKind, read_trace
from simulator.workloads.trace import Trace, canonical_bytes, make_trace
from simulator.workloads.workload import (
    Workload,
    WorkloadObjective,
    WorkloadSpec,
    load_workload,
    workload_names,
)

__all__ = [
    "Trace",
    "TraceKind",
    "Workload",
    "WorkloadObjective",
    "WorkloadSpec",
    "canonical_bytes",
    "load_workload",
    "make_trace",
    "read_trace",
    "workload_names",
]
