"""One trainer for all workers: run by the one that leads, fed by all."""

from collections.abc import Callable, Sequence

from foretoken.settings import TrainerSettings
from foretoken.trainer import Trainer
from foretoken.trainer_protocol import Report
from models_store import Place
from predictor import PredictorSettings
from predictor.types import Observation


class SharedTrainer(Trainer):
    """Supervise the trainer process while we lead; hand observations on while we do not.

    Args:
        settings: As of any trainer.
        predictor: Likewise.
        store_dir: Likewise.
        keep: Likewise.
        on_report: Likewise.
        leads: Tells whether we lead.
        hand_on: Takes observations to the worker that does; gives how many it could not.
    """

    def __init__(
        self,
        *,
        settings: TrainerSettings,
        predictor: PredictorSettings,
        store_dir: Place,
        keep: int,
        on_report: Callable[[Report], None],
        leads: Callable[[], bool],
        hand_on: Callable[[Sequence[Observation]], int],
    ) -> None:
        super().__init__(
            settings=settings,
            predictor=predictor,
            store_dir=store_dir,
            keep=keep,
            on_report=on_report,
        )
        self._leads = leads
        self._hand_on = hand_on

    @property
    def elsewhere(self) -> bool:
        """Tell whether another process of several trains for this one."""
        return not self._leads()

    def feed(self, observation: Observation) -> None:
        """Take one for our own process, or for the worker that leads."""
        if self._leads():
            super().feed(observation)
        else:
            self._gather(observation)

    def _hand_over(self, observations: Sequence[Observation]) -> None:
        if self._leads():
            super()._hand_over(observations)
        else:
            self.dropped += self._hand_on(observations)
