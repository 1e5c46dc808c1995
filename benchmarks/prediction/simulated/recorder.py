"""Record a simulated run while it is played: rows at dispatch, labels as they come.

Looks on through the driver's witness and decides nothing.
"""

from dataclasses import dataclass, field

import numpy as np

from benchmarks.prediction.simulated.recording import KINDS, Floors, Kind, Recording
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor.features import N_FEATURES
from predictor.types import LEVELS, Decision, FloatArray, RequestRecord
from scheduler import Dispatch


@dataclass(slots=True, kw_only=True)
class _Events:
    at_s: list[float] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    dispatch: list[int] = field(default_factory=list)
    value_s: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def add(
        self, kind: Kind, at_s: float, dispatch: int, value_s: float = np.nan, tokens: int = 0
    ) -> None:
        self.at_s.append(at_s)
        self.kind.append(KINDS.index(kind))
        self.dispatch.append(dispatch)
        self.value_s.append(value_s)
        self.tokens.append(tokens)


class Recorder(Witness):
    """Keep what passes in one run.

    Args:
        world: The run's truth, which tells how many tokens a request has.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._names = tuple(spec.name for spec in world.fleet.endpoints)
        self._place = {name: index for index, name in enumerate(self._names)}
        self._features: list[FloatArray] = []
        self._chosen: list[int] = []
        self._said: list[FloatArray] = []
        self._events = _Events()
        self._dispatch_of: dict[str, int] = {}
        self._sent_s: dict[str, float] = {}
        self._first_s: dict[str, float] = {}

    def dispatched(self, action: Dispatch, now: float) -> None:
        """Keep the rows of all candidates and what was said of the chosen one."""
        decision = action.decision
        rows = np.full((len(self._names), N_FEATURES), np.nan)
        rows[[self._place[name] for name in decision.endpoints]] = decision.features
        self._features.append(rows)
        self._chosen.append(self._place[action.endpoint])
        self._said.append(_said(decision))
        number = len(self._chosen) - 1
        if action.request_id in self._dispatch_of:  # sent again
            self._events.add("lost", now, self._dispatch_of[action.request_id])
        self._dispatch_of[action.request_id] = number
        self._sent_s[action.request_id] = now
        self._events.add("dispatch", now, number)

    def first_token(self, request_id: str, now: float) -> None:
        """Keep the TTFT label."""
        ttft_s = now - self._sent_s[request_id]
        self._events.add("ttft", now, self._dispatch_of[request_id], ttft_s)
        self._first_s[request_id] = now

    def progressed(self, request_id: str, tokens: int, last_s: float, now: float) -> None:
        """Keep the early TPOT label."""
        dispatch, tpot_s = self._dispatch_of[request_id], last_s - self._first_s[request_id]
        self._events.add("tpot_early", now, dispatch, tpot_s / (tokens - 1), tokens)

    def ended(self, record: RequestRecord, now: float) -> None:
        """Keep the TPOT label of a request that has completed; one token has none."""
        dispatch = self._dispatch_of.pop(record.request.request_id, None)
        self._sent_s.pop(record.request.request_id, None)
        self._first_s.pop(record.request.request_id, None)
        if dispatch is None:  # refused before it was sent
            return
        if record.measurement.outcome != "completed":
            self._events.add("lost", now, dispatch)
        else:
            tpot_s = np.nan if record.tpot_s is None else record.tpot_s
            self._events.add("tpot", now, dispatch, tpot_s, record.measurement.output_tokens or 0)

    def recording(self, name: str, about: dict[str, float | str], floors: Floors) -> Recording:
        """Give all that was kept."""
        events, shape = self._events, (len(self._chosen), len(self._names), N_FEATURES)
        features = np.array(self._features).reshape(shape)
        return Recording(
            name=name,
            about=about,
            endpoints=self._names,
            hardware=(None,) * len(self._names),
            features=features,
            candidate=np.isfinite(features[:, :, 0]),
            chosen=np.array(self._chosen, dtype=np.int64),
            said_s=np.array(self._said).reshape(shape[0], 2, 1 + len(LEVELS)),
            event_s=np.array(events.at_s),
            event_kind=np.array(events.kind, dtype=np.int64),
            event_dispatch=np.array(events.dispatch, dtype=np.int64),
            event_value_s=np.array(events.value_s),
            event_tokens=np.array(events.tokens, dtype=np.int64),
            floors=floors,
        )


def _said(decision: Decision) -> FloatArray:
    said = decision.predictions
    if said is None:
        return np.full((2, 1 + len(LEVELS)), np.nan)
    means = np.stack((said.ttft_s, said.tpot_s))[:, None]
    both: FloatArray = np.concatenate((means, said.quantiles_s), axis=1)[:, :, decision.chosen]
    return both
