"""A fleet's models over time: when they are trained, which way, and which is served.

Every model is judged on the rows that came after it was trained, beside the one it
replaced: predict, then learn. One that was worse is taken back, and none is published
until its kind has been no worse again. So the model published has always seen the newest
rows, and a bad batch of labels is served for one round at most. A model refitted in full
and one continued from the last are compared likewise, now and then, and the cheaper way
is taken where it was no worse. Called by the trainer process, and by the simulator's
trainer in virtual time; one per fleet, pure.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from predictor.boosted import BoostedModels
from predictor.errors import TrainingRefused
from predictor.evaluation import Evaluation, compare, evaluate
from predictor.settings import PredictorSettings
from predictor.snapshot import ModelSnapshot
from predictor.table import Table
from predictor.training import TrainedModel, require_rows, train_first, train_full, train_on
from predictor.types import Observation
from predictor.window import StratifiedWindow

Way = Literal["full", "continued"]
Refusal = Literal["on_trial", "worse"]

_SURPRISE: Final = 1.5
_JUDGED: Final = 8
# What continuing costs before a trial has shown it: on recorded rows it was -20 to +50 %.
_CONTINUED_GROWTH: Final = 0.1
_MEMORY: Final = 0.7  # of what trials have shown, at each further one


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Tell what one training came to.

    Attributes:
        model: What was trained; its evaluation is that of its predecessor, on rows which
            that had not seen.
        way: How.
        rows: Rows it was trained on.
        refusal: Why it is not to be served; ``None`` to publish it.
        restore: Model to serve again, because the one served turned out to be worse.
    """

    model: TrainedModel
    way: Way
    rows: int
    refusal: Refusal | None = None
    restore: ModelSnapshot | None = None


@dataclass(slots=True)
class _Ways:
    """Compare refitting with continuing."""

    growth: float = _CONTINUED_GROWTH  # of the log error where continued, smoothed
    continued: int = 0  # in a row
    since_trial: int = 0
    errors: deque[float] = field(default_factory=lambda: deque(maxlen=_JUDGED))
    surprised: bool = False  # whether the last model did far worse than one has lately

    def learn(self, growth: float) -> None:
        self.growth = _MEMORY * self.growth + (1.0 - _MEMORY) * growth

    def judged(self, evaluation: Evaluation) -> None:
        """Take in how the last model did: what changed all at once is not to be continued."""
        errors = [score.mean_log_error for score in evaluation.candidate.values()]
        if errors:
            self.errors.append(sum(errors) / len(errors))
            self.surprised = self.errors[-1] > _SURPRISE * min(self.errors)

    def next(self, most: int) -> Way:
        """Choose the way of the next model; full again after ``most`` in a row."""
        if self.growth > 0.0 or self.surprised or self.continued >= most:
            self.continued = 0
            return "full"
        self.continued += 1
        return "continued"


class Retraining:
    """Hold one fleet's window and train on it, round by round.

    Args:
        settings: Window, models, and the physics under them.

    Attributes:
        window: The rows.
    """

    def __init__(self, settings: PredictorSettings | None = None) -> None:
        self._settings = settings or PredictorSettings()
        self.window = StratifiedWindow(self._settings.training)
        self._last: ModelSnapshot | None = None  # the newest one trained, served or not
        self._before: ModelSnapshot | None = None  # what it replaced
        self._rival: tuple[ModelSnapshot, Way] | None = None  # trained the other way with it
        self._taken = 0  # rows the newest one has seen
        self._ways = _Ways()

    def add(self, observation: Observation) -> None:
        """Take in an observation; what cannot teach is counted by the window."""
        self.window.add(observation)

    def train(self, served: ModelSnapshot | None) -> Round:
        """Judge the last model by the rows that came since, and train the next.

        Args:
            served: The model in use, ``None`` without one.

        Raises:
            TrainingRefused: There are too few rows, or too few new ones.
        """
        training, physics = self._settings.training, self._settings.physics
        table = Table.of(self.window.rows())
        require_rows(table, training)
        if self._last is None:
            model = train_first(table, training, physics)
            end = Round(model=model, way="full", rows=len(table))
            return self._end(replace(end, refusal="on_trial") if served else end, served)
        fresh = self._fresh()
        evaluation, refusal, restore = self._judge(self._last, served, fresh)
        self._ways.judged(evaluation)
        snapshot, way = self._train(self._last, table)
        model = TrainedModel(
            snapshot=replace(snapshot, errors=self._last.errors | evaluation.experts),
            evaluation=evaluation,
        )
        end = Round(model=model, way=way, rows=len(table), refusal=refusal, restore=restore)
        return self._end(end, restore or served)

    def _fresh(self) -> Table:
        """Give the rows that the last model has not seen.

        Raises:
            TrainingRefused: They are too few to judge by.
        """
        fresh = Table.of(self.window.rows(after=self._taken))
        needed = self._settings.training.judged_rows
        if len(fresh) < needed:
            raise TrainingRefused(
                "too_few_new",
                f"{len(fresh)} rows since the last training, {needed} needed to judge it by",
            )
        return fresh

    def _judge(
        self, last: ModelSnapshot, served: ModelSnapshot | None, fresh: Table
    ) -> tuple[Evaluation, Refusal | None, ModelSnapshot | None]:
        models = _models(last)
        if self._rival is not None:
            rival, way = self._rival
            growth = compare(_models(rival), models, fresh).growth
            self._ways.learn(growth if way == "continued" else -growth)
        is_served = served is not None and served.version == last.version
        other = self._before if is_served else served
        if other is None:
            return evaluate([(models, fresh)]), None, None
        evaluation = compare(models, _models(other), fresh)
        if evaluation.no_worse():
            return evaluation, None, None
        return evaluation, "worse", other if is_served else None

    def _train(self, last: ModelSnapshot, table: Table) -> tuple[ModelSnapshot, Way]:
        """Train the next model, and on trial rounds another one the other way."""
        training, physics = self._settings.training, self._settings.physics
        self._rival, self._ways.since_trial = None, self._ways.since_trial + 1
        way = self._ways.next(training.continuations)
        if not training.continuations or self._ways.since_trial % training.trial_rounds != 1:
            if way == "continued":
                return train_on(last, table, training), way
            return train_full(table, training, physics), way
        full, continued = train_full(table, training, physics), train_on(last, table, training)
        if way == "full":
            self._rival = continued, "continued"
            return full, way
        self._rival = full, "full"
        return continued, way

    def _end(self, end: Round, served: ModelSnapshot | None) -> Round:
        parent = None if served is None else served.version
        model = replace(end.model, snapshot=replace(end.model.snapshot, parent=parent))
        self._last, self._taken = model.snapshot, self.window.taken
        if end.refusal is None:
            self._before = served
        return replace(end, model=model)


def _models(snapshot: ModelSnapshot) -> BoostedModels:
    return BoostedModels(snapshot.physics, snapshot.trees)
