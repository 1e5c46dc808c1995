"""Learn from observations that others send, a few at a time, beside what is served.

A label costs a good part of a millisecond and batches hold thousands: they wait here,
bounded, and are learned in slices, with at least as long a rest after each. Every slice
is predicted before any of it is learned. Called by :mod:`foretoken.predictor_host`.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np

from predictor.errors import PredictorError
from predictor.protocol import Predictor
from predictor.types import Observation
from predictor.values import replace

SLICE_ROWS: Final = 8
"""Observations learned at once: a few milliseconds."""


class Learner:
    """Hold observations until they are learned.

    Args:
        predictor_of: Gives the predictor of a model.
        feed: Gets each observation once learned, for the trainer.
        most: Observations that may wait.
    """

    def __init__(
        self,
        predictor_of: Callable[[str], Predictor],
        feed: Callable[[Observation], None],
        most: int,
    ) -> None:
        self._predictor_of = predictor_of
        self._feed = feed
        self._most = most
        self._waiting: deque[Observation] = deque()
        self._arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, observation: Observation) -> bool:
        """Take one observation; ``False`` when too many wait."""
        if len(self._waiting) >= self._most:
            return False
        self._waiting.append(observation)
        self._arrived.set()
        return True

    def forget(self, model: str) -> None:
        """Drop what waits of one model."""
        self._waiting = deque(each for each in self._waiting if each.model != model)

    async def run(self) -> None:
        """Learn what comes, until cancelled."""
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            started_s = time.perf_counter()
            self.learn_some()
            await asyncio.sleep(time.perf_counter() - started_s)

    def learn_some(self) -> None:
        """Learn the next few observations of one model."""
        seen = self._next()
        if not seen:
            return
        predictor = self._predictor_of(seen[0].model)
        for observation in _as_predicted(predictor, seen):
            predictor.learn(observation)
            if _trains(observation):
                self._feed(observation)

    def _next(self) -> list[Observation]:
        waiting, taken = self._waiting, list[Observation]()
        while waiting and len(taken) < SLICE_ROWS:
            if taken and waiting[0].model != taken[0].model:
                break
            taken.append(waiting.popleft())
        return taken


def _trains(observation: Observation) -> bool:
    """Tell whether a model can be trained on it: on its labels, and on none of them twice."""
    labels = (observation.upstream_ttft_s, observation.tpot_s, observation.total_s)
    return observation.use != "scoring" and any(label is not None for label in labels)


def _as_predicted(predictor: Predictor, seen: list[Observation]) -> list[Observation]:
    """Attach what the predictor says of each before it learns from any."""
    features = np.stack([each.features for each in seen])
    try:
        said = predictor.predict(
            features, [each.endpoint for each in seen], [each.hardware for each in seen]
        )
    except PredictorError:  # it counts what it cannot score
        return seen
    return [
        replace(
            each,
            predicted_ttft_s=float(said.ttft_s[i]),
            predicted_tpot_s=float(said.tpot_s[i]),
            predicted_ttft_p90_s=float(said.ttft_p90_s[i]),
            predicted_tpot_p90_s=float(said.tpot_p90_s[i]),
            experts=said.experts[:, :, i],
        )
        for i, each in enumerate(seen)
    ]
