"""The rows a fleet's models are trained on: recent, bounded, and not of one kind only.

Strata are endpoint x regime x which targets a row labels. When the window is full the
largest strata give way first, so that a busy endpoint does not flush out a quiet one, nor
a burst the calm before it. Called by :mod:`predictor.retraining`; pure, reads no clock:
rows expire by the times of the newest ones.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

import numpy as np

from predictor.labels import LabelClock
from predictor.settings import TrainingSettings
from predictor.table import Labelled, label
from predictor.terms import regimes
from predictor.types import Observation

_SLACK: Final = 1.05  # overflow before strata are cut: cutting costs a look at each
_NEWEST: Final = 101  # times whose median is now: no few absurd ones can expire the rest

_Stratum = tuple[str, int, bool, bool]


class StratifiedWindow:
    """Keep the newest rows of every stratum.

    Settings: ``window_rows`` and ``expire_s`` of :class:`TrainingSettings`.

    Attributes:
        refused: Labels and observations refused, by reason.
        taken: Rows ever taken in.

    >>> from predictor.features import N_FEATURES
    >>> window = StratifiedWindow(TrainingSettings(window_rows=100))
    >>> for index in range(300):
    ...     window.add(Observation(
    ...         endpoint="quiet:1" if index < 20 else "busy:1", model="m", hardware=None,
    ...         observed_s=float(index), features=np.zeros(N_FEATURES), tpot_s=0.02))
    >>> Counter(row.endpoint for row in window.rows()) == {"quiet:1": 20, "busy:1": 80}
    True
    """

    def __init__(self, settings: TrainingSettings | None = None) -> None:
        self._settings = settings or TrainingSettings()
        self._strata: dict[_Stratum, deque[tuple[int, Labelled]]] = {}
        self._clock = LabelClock()
        self._newest_s: deque[float] = deque(maxlen=_NEWEST)
        self._rows = 0
        self.refused: Counter[str] = Counter()
        self.taken = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, observation: Observation) -> None:
        """Take in an observation; what cannot teach is counted."""
        row, refused = label(observation)
        self.refused.update(refused)
        if row is None:
            return
        observed_s, problem = self._clock.admit(row.observed_s)
        if problem is not None:
            self.refused[problem] += 1
        if observed_s is None:
            return
        # A copy: a view would keep the rows of all candidates of that decision alive.
        row = replace(row, observed_s=observed_s, features=row.features.copy())
        self.taken += 1
        self._newest_s.append(observed_s)
        self._strata.setdefault(_stratum(row), deque()).append((self.taken, row))
        self._rows += 1
        if self._rows > self._settings.window_rows * _SLACK:
            self._cut()

    def rows(self, *, after: int = 0) -> Sequence[Labelled]:
        """Give the rows there are, in the order they came, without the first ``after`` taken."""
        self._cut()
        found = (entry for entry in chain(*self._strata.values()) if entry[0] > after)
        return [row for _, row in sorted(found, key=_arrival)]

    def _cut(self) -> None:
        self._expire()
        most = _fair_size([len(rows) for rows in self._strata.values()], self._settings.window_rows)
        for rows in self._strata.values():
            while len(rows) > most:
                rows.popleft()
        self._rows = sum(map(len, self._strata.values()))

    def _expire(self) -> None:
        if not self._newest_s:
            return
        oldest_s = float(np.median(self._newest_s)) - self._settings.expire_s
        for stratum, rows in list(self._strata.items()):
            while rows and rows[0][1].observed_s < oldest_s:
                rows.popleft()
            if not rows:
                del self._strata[stratum]


def _stratum(row: Labelled) -> _Stratum:
    ttft, tpot = row.log_target
    regime = int(regimes(row.features[None])[0])
    return row.endpoint, regime, bool(np.isfinite(ttft)), bool(np.isfinite(tpot))


def _arrival(entry: tuple[int, Labelled]) -> int:
    return entry[0]


def _fair_size(sizes: Sequence[int], total: int) -> int:
    """Find the size that, kept to by every stratum, leaves at most ``total`` rows.

    >>> _fair_size([10, 500, 700], 410)
    200
    >>> _fair_size([10, 20], 410)
    20
    """
    left = total
    for index, size in enumerate(ordered := sorted(sizes)):
        if size * (len(ordered) - index) > left:
            return left // (len(ordered) - index)
        left -= size
    return max(sizes, default=0)
