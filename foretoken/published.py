"""Whatever the metrics page reads when somebody asks for it, registered in one place.

Called by :func:`foretoken.build.build` and :func:`foretoken.build.build_predictor`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from foretoken.routers.metrics import RoutersCollector
from foretoken.trainer import Trainer
from foretoken.trainer_metrics import TrainerCollector
from foretoken.worker_metrics import OneWorkerCollector
from proxy import (
    CacheCollector,
    CapacityCollector,
    FleetCollector,
    OutlookCollector,
    QueueCollector,
    StandbyCollector,
    publish_build,
)
from scheduler import Scheduler

if TYPE_CHECKING:  # one process alone loads nothing of what several need
    from foretoken.peer import Peer


def publish_fleet(
    registry: CollectorRegistry, scheduler: Scheduler, clock: Callable[[], float]
) -> None:
    """Publish endpoints, queue and room as the scheduler knows them."""
    registry.register(FleetCollector(scheduler, clock))
    registry.register(QueueCollector(scheduler, clock))
    registry.register(CapacityCollector(scheduler, clock))
    registry.register(OutlookCollector(scheduler, clock))
    registry.register(StandbyCollector(scheduler, clock))
    registry.register(CacheCollector(scheduler))


def publish_process(
    registry: CollectorRegistry,
    trainer: Trainer | None,
    *,
    alone: bool = True,
    member: "Peer | None" = None,
) -> None:
    """Publish the process, its trainer, itself where it is the only one, and other routers."""
    registry.register(RoutersCollector(None if member is None else member.outside))
    publish_build(registry)
    if trainer is not None:
        registry.register(TrainerCollector(trainer))
    if alone:
        registry.register(OneWorkerCollector())
