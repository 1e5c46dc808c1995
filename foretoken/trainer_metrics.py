"""What is published of the trainer process: that it is there, and that it says something.

Read when somebody scrapes us. Constructed by ``build``, where there is a trainer.
"""

import time
from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from foretoken.trainer import Trainer


class TrainerCollector(Collector):
    """Publish how the trainer process is.

    Args:
        trainer: Supervises it.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def collect(self) -> Iterator[Metric]:
        """Give the numbers as they are at this moment."""
        trainer = self._trainer
        up = GaugeMetricFamily(
            "foretoken_trainer_up",
            "Whether a trainer process runs; left out where another router trains for this one.",
        )
        if not trainer.elsewhere:
            up.add_metric([], float(trainer.alive))
        yield up
        yield CounterMetricFamily(
            "foretoken_trainer_restarts",
            "Times the trainer process died and was started again.",
            value=trainer.restarts,
        )
        age = GaugeMetricFamily(
            "foretoken_trainer_answer_age_seconds",
            "Since the trainer process was started or last said anything; it does every 10 s.",
        )
        heard_s = trainer.heard_s
        if heard_s is not None:
            age.add_metric([], time.monotonic() - heard_s)
        yield age
