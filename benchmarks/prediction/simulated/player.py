"""Ask a predictor what it would have said in a recorded run: predict, then learn, in order.

Every prediction is made at its dispatch from what had been learned by then; every label
teaches when it came, with what was said at dispatch. Called by the parts of this
benchmark for predictors that did not decide in the run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from benchmarks.prediction.simulated.recording import KINDS, Recording
from predictor.protocol import Predictor
from predictor.types import LEVELS, FloatArray, Observation
from predictor.values import replace
from scheduler.learning import use_of_whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Hold a predictor, and what trains it how often.

    Attributes:
        predictor: Says and learns.
        train: Trains it at a given time, ``None`` where nothing does.
        observe: Is shown every finished request, ``None`` where nobody asks.
        train_every_s: Time between two trainings.
        early: Whether it is told of TPOT early and of misses at once, as the scheduler does.
    """

    predictor: Predictor
    train: Callable[[float], None] | None = None
    observe: Callable[[Observation], None] | None = None
    train_every_s: float = 10.0
    early: bool = False


def replay(recording: Recording, asked: Asked) -> FloatArray:
    """Give what is said at each dispatch of the chosen endpoint.

    Returns:
        ``(n, 2, 1 + n_levels)`` seconds by target: mean, then quantiles.
    """
    return _Replay(recording, asked).run()


class _Replay:
    def __init__(self, recording: Recording, asked: Asked) -> None:
        self._recording = recording
        self._asked = asked
        self._said = np.full((len(recording), 2, 1 + len(LEVELS)), np.nan)
        self._open: dict[int, Observation] = {}
        self._early_s: dict[int, float] = {}
        self._first_s: dict[int, float] = {}
        self._due: list[tuple[float, int, float]] = []  # when overdue, dispatch, when sent

    def run(self) -> FloatArray:
        recording, asked = self._recording, self._asked
        due_s = asked.train_every_s
        for at_s, kind, dispatch, value_s, tokens in zip(
            recording.event_s.tolist(),
            recording.event_kind.tolist(),
            recording.event_dispatch.tolist(),
            recording.event_value_s.tolist(),
            recording.event_tokens.tolist(),
            strict=True,
        ):
            while asked.train is not None and due_s <= at_s:
                asked.train(due_s)
                due_s += asked.train_every_s
            match KINDS[kind]:
                case "dispatch":
                    self._predict(dispatch, at_s)
                case "ttft":
                    self._first_token(dispatch, at_s, value_s)
                case "tpot_early" if asked.early:
                    self._progress(dispatch, at_s, value_s, tokens)
                case "tpot":
                    self._end(dispatch, at_s, value_s, tokens)
                case "lost":
                    self._open.pop(dispatch, None)
                    self._tell_overdue(at_s)
        return self._said

    def _predict(self, dispatch: int, at_s: float) -> None:
        recording, predictor = self._recording, self._asked.predictor
        self._tell_overdue(at_s)
        among = np.flatnonzero(recording.candidate[dispatch])
        rows = recording.features[dispatch, among]
        names = [recording.endpoints[index] for index in among]
        hardware = [recording.hardware[index] for index in among]
        chosen = int(np.flatnonzero(among == recording.chosen[dispatch])[0])
        said = predictor.predict(rows, names, hardware)
        self._said[dispatch, :, 0] = said.ttft_s[chosen], said.tpot_s[chosen]
        self._said[dispatch, :, 1:] = said.quantiles_s[:, :, chosen]
        self._open[dispatch] = Observation(
            endpoint=names[chosen],
            model=str(recording.about["model"]),
            hardware=hardware[chosen],
            observed_s=at_s,
            features=rows[chosen],
            predicted_ttft_s=float(said.ttft_s[chosen]),
            predicted_tpot_s=float(said.tpot_s[chosen]),
            predicted_ttft_p90_s=float(said.ttft_p90_s[chosen]),
            predicted_tpot_p90_s=float(said.tpot_p90_s[chosen]),
            experts=said.experts[:, :, chosen],
        )
        if self._asked.early:
            heappush(self._due, (at_s + float(said.ttft_p90_s[chosen]), dispatch, at_s))

    def _first_token(self, dispatch: int, at_s: float, ttft_s: float) -> None:
        seen = replace(self._open[dispatch], observed_s=at_s, upstream_ttft_s=ttft_s)
        self._open[dispatch], self._first_s[dispatch] = seen, at_s
        self._asked.predictor.learn(seen)

    def _progress(self, dispatch: int, at_s: float, tpot_s: float, tokens: int) -> None:
        self._early_s[dispatch] = tpot_s * (tokens - 1)
        seen = replace(
            self._open[dispatch],
            observed_s=at_s,
            upstream_ttft_s=None,
            tpot_s=tpot_s,
            output_tokens=tokens,
            use="teaching",
        )
        self._asked.predictor.learn(seen)

    def _end(self, dispatch: int, at_s: float, tpot_s: float, tokens: int) -> None:
        known = None if np.isnan(tpot_s) else tpot_s
        seen = replace(
            self._open.pop(dispatch), observed_s=at_s, tpot_s=known, output_tokens=tokens
        )
        decoding_s, early_s = at_s - self._first_s.pop(dispatch), self._early_s.pop(dispatch, None)
        use = use_of_whole(decoding_s, early_s)
        self._asked.predictor.learn(replace(seen, upstream_ttft_s=None, use=use))
        if self._asked.observe is not None:
            self._asked.observe(seen)
        self._tell_overdue(at_s)

    def _tell_overdue(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            _, dispatch, sent_s = heappop(self._due)
            seen = self._open.get(dispatch)
            if seen is not None and seen.upstream_ttft_s is None:
                self._open[dispatch] = seen = replace(seen, observed_s=now, waited_s=now - sent_s)
                self._asked.predictor.learn(seen)
