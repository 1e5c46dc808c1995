"""Train a fleet's model and publish it, if it is no worse than the one in use.

Shared by the trainer process (live observations) and ``foretoken train`` (traces).
"""

import time
from collections.abc import Sequence

from foretoken.trainer_protocol import Report
from models_store import ModelsStore, ModelsStoreError
from predictor import (
    Evaluation,
    ModelSnapshot,
    PredictorError,
    TrainedModel,
    TrainingRefused,
    TrainingSettings,
    train,
)
from predictor.features import SCHEMA_HASH
from predictor.types import Observation

MODEL_FORMAT = "foretoken-snapshot"


def train_and_publish(
    store: ModelsStore,
    fleet: str,
    rows: Sequence[Observation],
    settings: TrainingSettings,
) -> Report:
    """Train on ``rows``, compare with the version in use, publish if no worse."""
    started_s = time.process_time()
    try:
        model = train(rows, settings, parent=in_use(store, fleet))
        refusal = None if model.evaluation.no_worse() else ("worse", _compare(model.evaluation))
        version = publish(store, fleet, model) if refusal is None else None
    except TrainingRefused as error:
        version, refusal = None, (error.reason, error.detail)
    except ModelsStoreError as error:
        version, refusal = None, ("store", str(error))
    return Report(
        fleet=fleet,
        seconds=time.process_time() - started_s,
        rows=len(rows),
        accepted=version is not None,
        reason=None if refusal is None else refusal[0],
        detail=None if refusal is None else refusal[1],
        version=version,
    )


def in_use(store: ModelsStore, fleet: str) -> ModelSnapshot | None:
    """Load the version in use; ``None`` without one, or with one that cannot be used."""
    try:
        if store.latest(fleet) is None:
            return None
        data, _ = store.load(fleet, schema_hash=SCHEMA_HASH)
        return ModelSnapshot.load(data)
    except (ModelsStoreError, PredictorError):
        return None


def publish(store: ModelsStore, fleet: str, model: TrainedModel) -> str:
    """Publish a trained model and give its version."""
    snapshot = model.snapshot
    return store.publish(
        fleet,
        snapshot.dump(),
        schema_hash=SCHEMA_HASH,
        model_format=MODEL_FORMAT,
        rows=max(snapshot.rows.values(), default=0),
        window_start_s=snapshot.trained_from_s,
        window_end_s=snapshot.trained_until_s,
        metrics=metrics(model.evaluation),
        now=time.time(),
    )


def metrics(evaluation: Evaluation) -> dict[str, float]:
    """Give the candidate's scores by name, as the manifest keeps them."""
    return {
        f"{target}_{name}_ratio": float(value)
        for target, score in evaluation.candidate.items()
        for name, value in (
            ("mape", score.mape),
            ("mdape", score.mdape),
            ("p90_coverage", score.p90_coverage),
        )
    }


def _compare(evaluation: Evaluation) -> str:
    return ", ".join(
        f"{target} error {score.mean_log_error:.3f}"
        + (f" against {served.mean_log_error:.3f} in use" if served else "")
        for target, score in evaluation.candidate.items()
        for served in (evaluation.served.get(target),)
    )
