"""Describe one fleet's models for the control plane and the predictor's API."""

from foretoken.model_updates import ModelUpdates
from predictor import LatencyPredictor
from predictor.physics import TARGETS
from proxy.control import DecidingView, FleetView, TargetView, TrainingView
from scheduler import Fleet


def fleet_view(
    fleet: str, predictor: LatencyPredictor, models: ModelUpdates, *, trainer_alive: bool | None
) -> FleetView:
    """Describe what predicts a fleet, how well, and how its training went.

    ``trainer_alive`` is ``None`` where no trainer is meant to run.
    """
    report = predictor.report()
    targets = [
        TargetView(
            target=target,
            mdape_ratio=report.mdape[target],
            coverage_ratio=report.p90_coverage[target],
            weights=report.weights[target],
            errors=report.expert_errors[target],
        )
        for target in TARGETS
    ]
    return FleetView(
        model=fleet,
        version=report.version,
        layer=report.layer,
        targets=targets,
        observations=max(report.observations.values()),
        labels=report.observations,
        refused=report.refused,
        training=_training(fleet, models, alive=trainer_alive),
        problem=models.problems.get(fleet),
    )


def deciding_view(fleet: Fleet) -> DecidingView:
    """Describe who decides in a fleet, and what is on trial beside it."""
    trust, canary = fleet.trust, fleet.canary
    return DecidingView(
        model=fleet.model,
        level=trust.level,
        reason=trust.reason,
        since_at_s=trust.since_s,
        problem=trust.problem,
        policy=fleet.policy.name,
        fallback=fleet.fallback.name,
        shadow=None if fleet.shadow is None else fleet.shadow.name,
        canary=None if canary is None else canary.policy.name,
        canary_share_ratio=0.0 if canary is None else canary.share,
        session=fleet.session,
    )


def _training(fleet: str, models: ModelUpdates, *, alive: bool | None) -> TrainingView:
    last = models.reports.get(fleet)
    if last is None:
        return TrainingView(alive=bool(alive), enabled=alive is not None)
    return TrainingView(
        alive=bool(alive),
        enabled=alive is not None,
        last_result="accepted" if last.accepted else last.reason,
        last_run_at_s=models.reported_s.get(fleet),
        seconds=last.seconds,
        rows=last.rows,
        message=last.detail,
        way=last.way,
        refused=last.refused,
    )
