"""Train a fleet's model on live observations and publish it, if its kind was no worse.

:class:`FleetTraining` is what the trainer process does for each fleet; publishing and
loading are shared with ``foretoken train``.
"""

import time
from collections.abc import Callable
from typing import Final

from foretoken.trainer_protocol import Report
from models_store import ModelsStore, ModelsStoreError, StoreUnreachable
from predictor import (
    MODEL_SCHEMA,
    Evaluation,
    ModelSnapshot,
    PredictorError,
    PredictorSettings,
    Retraining,
    Round,
    TrainedModel,
    TrainingRefused,
)
from predictor.types import Observation

MODEL_FORMAT = "foretoken-snapshot"
_NAMES: Final = 64  # versions that may be put in use again; the last but one mostly is


class FleetTraining:
    """Train one fleet's models, and keep the store at the one to be served.

    Args:
        store: Where versions are published.
        fleet: Whose.
        settings: Window, models, and the physics under them.
        may_publish: Asked before anything is put in use: another router may train by then.
    """

    def __init__(
        self,
        store: ModelsStore,
        fleet: str,
        settings: PredictorSettings,
        *,
        may_publish: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._fleet = fleet
        self._may_publish = may_publish
        self._retraining = Retraining(settings)
        self._names: dict[str, str] = {}  # of published versions, by their content's
        self._loaded: tuple[str, ModelSnapshot] | None = None  # the version in use, read once

    def add(self, observation: Observation) -> None:
        """Take in an observation."""
        self._retraining.add(observation)

    def train(self) -> Report:
        """Train on the window; publish, refuse, or take back what turned out worse."""
        started_s = time.process_time()
        version, way, rows = None, None, len(self._retraining.window)
        reason: str | None = None
        detail: str | None = None
        try:
            done = self._retraining.train(self._in_use())
            way, rows, reason = done.way, done.rows, done.refusal
            detail = None if reason is None else compared(done.model.evaluation)
            version = self._publish(done)
        except TrainingRefused as error:
            reason, detail = error.reason, error.detail
        except ModelsStoreError as error:
            reason, detail = "store", str(error)
        return Report(
            fleet=self._fleet,
            seconds=time.process_time() - started_s,
            rows=rows,
            accepted=version is not None and reason is None,
            reason=reason,
            detail=detail,
            version=version,
            way=way,
            refused=dict(self._retraining.window.refused),
        )

    def _publish(self, done: Round) -> str | None:
        """Publish a model, or promote the one to be restored; give its name.

        Raises:
            TrainingRefused: Another router may train for all by now.
        """
        if not self._may_publish():
            raise TrainingRefused("not_leading", "the lease has ended")
        if done.restore is not None:
            name = self._names.get(done.restore.version)
            if name is None:  # it was published by another process
                return None
            self._store.promote(self._fleet, name)
            self._remember(done.restore, name)
            return name
        if done.refusal is not None:
            return None
        name = publish(self._store, self._fleet, done.model)
        self._remember(done.model.snapshot, name)
        return name

    def _in_use(self) -> ModelSnapshot | None:
        """Give the version in use, read anew only where it is another.

        Raises:
            StoreUnreachable: Nobody knows: what is trained now could not be judged by it.
        """
        try:
            version = self._store.latest(self._fleet)
        except StoreUnreachable:
            raise
        except ModelsStoreError:
            return None
        if self._loaded is None or self._loaded[0] != version:
            snapshot = in_use(self._store, self._fleet)
            self._loaded = None if version is None or snapshot is None else (version, snapshot)
        return None if self._loaded is None else self._loaded[1]

    def _remember(self, snapshot: ModelSnapshot, name: str) -> None:
        self._names.pop(snapshot.version, None)
        self._names[snapshot.version] = name  # at the end: the first is the longest out of use
        if len(self._names) > _NAMES:
            del self._names[next(iter(self._names))]


def in_use(store: ModelsStore, fleet: str) -> ModelSnapshot | None:
    """Load the version in use; ``None`` without one, or with one that cannot be used."""
    try:
        if store.latest(fleet) is None:
            return None
        data, _ = store.load(fleet, schema_hash=MODEL_SCHEMA)
        return ModelSnapshot.load(data)
    except (ModelsStoreError, PredictorError):
        return None


def publish(store: ModelsStore, fleet: str, model: TrainedModel) -> str:
    """Publish a trained model and give its version."""
    snapshot = model.snapshot
    return store.publish(
        fleet,
        snapshot.dump(),
        schema_hash=MODEL_SCHEMA,
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


def compared(evaluation: Evaluation) -> str:
    """Say how two models did on the newest labels, for people."""
    return ", ".join(
        f"{target} error {score.mean_log_error:.3f}"
        + (f" against {served.mean_log_error:.3f} of the one before" if served else "")
        for target, score in evaluation.candidate.items()
        for served in (evaluation.served.get(target),)
    )
