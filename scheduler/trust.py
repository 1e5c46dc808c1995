"""How far one fleet's predictions can be trusted at this moment, and since when not.

Three things cost them the decision: they cannot be had, they take too long, they are too
far off. Each has to be so repeatedly before it counts and to have passed for a while
before it is over: a fleet does not flap between two policies. What then decides is
:mod:`scheduler.ladder`'s. Written by the decider and the lessons, one writer each per
event; no clock of its own.
"""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Final, Literal

from predictor.types import Decision, Observation
from scheduler.settings import LadderSettings

Level = Literal["mixture", "prior", "heuristic", "least_request"]
"""What decides, best first: predictions with trained trees, predictions of physics alone,
the fallback or a configured heuristic, our own count of requests in flight."""

Distrust = Literal["prediction_failed", "prediction_slow", "prediction_inaccurate"]

_NOISE_S: Final = 1e-3
"""Times below this count as this: what an event loop adds to a token is no engine's doing."""

_MOST_CHANGES: Final = 100  # kept until somebody asks; a fleet has a few a day


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Tell that something else decides from now on.

    Attributes:
        level: What does.
        reason: Why, as of the first decision that it took.
        before: What did, ``None`` at the first decision.
        at_s: When.
    """

    level: Level
    reason: str
    before: Level | None
    at_s: float


class FailureGate:
    """Shut for a while after too many of the last events were bad.

    >>> gate = FailureGate(most=2, of_last=4, hold_s=10.0)
    >>> for bad in (True, False, True):
    ...     gate.tell(bad=bad, now=1.0)
    >>> gate.is_shut(now=1.0), gate.is_shut(now=11.0)
    (True, False)
    """

    def __init__(self, *, most: int, of_last: int, hold_s: float) -> None:
        self._most, self._hold_s = most, hold_s
        self._last: deque[bool] = deque(maxlen=of_last)
        self._bad = 0
        self._until_s = float("-inf")

    def tell(self, *, bad: bool, now: float) -> None:
        """Take in one event."""
        if not bad and not self._bad:
            return  # of good ones alone there is nothing to keep
        if len(self._last) == self._last.maxlen:
            self._bad -= self._last[0]
        self._last.append(bad)
        self._bad += bad
        if self._bad >= self._most:
            self._until_s = now + self._hold_s
            self._last.clear()
            self._bad = 0

    def is_shut(self, now: float) -> bool:
        """Tell whether it is shut."""
        return now < self._until_s


class ErrorWatch:
    """Tell whether the median of the last errors is beyond a factor, either way.

    >>> watch = ErrorWatch(rows=3, max_factor=3.0, good_factor=2.0)
    >>> for predicted_s in (0.1, 1.0, 9.0):
    ...     watch.learn(predicted_s, 1.0)
    >>> watch.is_bad, watch.is_good
    (True, False)
    >>> watch.learn(0.00001, 0.0005)
    >>> watch.is_bad
    False
    """

    def __init__(self, *, rows: int, max_factor: float, good_factor: float) -> None:
        self._max, self._good = max_factor, good_factor
        self._last: deque[tuple[bool, bool]] = deque(maxlen=rows)
        self._beyond_max = self._beyond_good = 0

    def learn(self, predicted_s: float, actual_s: float) -> None:
        """Take in a prediction and what it was of, positive; below a millisecond, each is one."""
        predicted_s, actual_s = max(predicted_s, _NOISE_S), max(actual_s, _NOISE_S)
        factor = max(predicted_s / actual_s, actual_s / predicted_s)
        if len(self._last) == self._last.maxlen:
            first_max, first_good = self._last[0]
            self._beyond_max -= first_max
            self._beyond_good -= first_good
        self._last.append((factor > self._max, factor > self._good))
        self._beyond_max += factor > self._max
        self._beyond_good += factor > self._good

    @property
    def is_bad(self) -> bool:
        """Tell whether more than half of a full window is beyond the larger factor."""
        return len(self._last) == self._last.maxlen and 2 * self._beyond_max > len(self._last)

    @property
    def is_good(self) -> bool:
        """Tell whether at most half is beyond the smaller one."""
        return 2 * self._beyond_good <= len(self._last)


class Trust:
    """Hold what speaks against one fleet's predictions, and what decides there.

    Attributes:
        level: What decided last, ``None`` before the first decision.
        reason: Why.
        since_s: Since when.
        changes_total: Changes by level and reason.
        problem: What the predictor last failed with, ``None`` if it never did.
    """

    def __init__(self, settings: LadderSettings | None = None) -> None:
        self.level: Level | None = None
        self.reason: str | None = None
        self.since_s: float | None = None
        self.changes_total: Counter[tuple[Level, str]] = Counter()
        self.problem: str | None = None
        self._changes: deque[Change] = deque(maxlen=_MOST_CHANGES)
        self._settings = LadderSettings()
        self._start(settings or self._settings)

    def configure(self, settings: LadderSettings) -> None:
        """Judge by other bounds; what was seen by the old ones is forgotten."""
        if settings != self._settings:
            self._start(settings)

    def _start(self, settings: LadderSettings) -> None:
        self._settings = settings
        self._failures, self._delays = (
            FailureGate(
                most=settings.failures, of_last=settings.of_last_decisions, hold_s=settings.hold_s
            )
            for _ in range(2)
        )
        self._errors = tuple(
            ErrorWatch(
                rows=settings.error_labels,
                max_factor=settings.max_error_factor,
                good_factor=settings.good_error_factor,
            )
            for _ in ("ttft", "tpot")
        )
        self._inaccurate = False
        self._good_since_s: float | None = None

    # What speaks against them

    def asked(self, *, problem: str | None, now: float) -> None:
        """Note that a prediction was asked for, and why it could not be had or used, if so."""
        if problem is not None:
            self.problem = problem
        self._failures.tell(bad=problem is not None, now=now)

    def took(self, seconds: float, now: float) -> None:
        """Note how long a decision took for which the predictor was asked."""
        self._delays.tell(bad=seconds > self._settings.decision_budget_s, now=now)

    def judge(self, decision: Decision | None, seen: Observation) -> None:
        """Compare a prediction with what was then measured.

        What was said while nothing was known yet is not held against anyone.
        """
        if decision is None or decision.predictions is None:
            return
        if decision.predictions.layer != "cold":
            self._judge(seen)

    def judge_elsewhere(self, seen: Observation) -> None:
        """Compare what another scheduler of the fleet predicted with what it then measured.

        All learn the same, so that one is as far off as the other; were each to judge by its
        own requests, one would hold back what another sends on by a heuristic.
        """
        if seen.use != "teaching" and self.reason not in {None, "cold"}:
            self._judge(seen)

    def _judge(self, seen: Observation) -> None:
        pairs = (
            (seen.predicted_ttft_s, seen.upstream_ttft_s),
            (seen.predicted_tpot_s, seen.tpot_s),
        )
        for watch, (predicted_s, actual_s) in zip(self._errors, pairs, strict=True):
            if predicted_s and actual_s and predicted_s > 0 and actual_s > 0:
                watch.learn(predicted_s, actual_s)
        self._settle(seen.observed_s)

    def _settle(self, now: float) -> None:
        ttft, tpot = self._errors
        if not self._inaccurate:
            self._inaccurate = ttft.is_bad or tpot.is_bad
        elif not (ttft.is_good and tpot.is_good):
            self._good_since_s = None
        elif self._good_since_s is None:
            self._good_since_s = now
        elif now - self._good_since_s >= self._settings.hold_s:
            self._inaccurate, self._good_since_s = False, None

    def rests(self, now: float) -> Distrust | None:
        """Say why the predictor is not even to be asked, ``None`` where it is."""
        if self._failures.is_shut(now):
            return "prediction_failed"
        return "prediction_slow" if self._delays.is_shut(now) else None

    @property
    def is_inaccurate(self) -> bool:
        """Tell whether predictions are made and learned from, but must not decide."""
        return self._inaccurate

    # What decides

    def stand(self, level: Level, reason: str, now: float) -> None:
        """Note what decides, and why."""
        if (level, reason) == (self.level, self.reason):
            return
        self._changes.append(Change(level=level, reason=reason, before=self.level, at_s=now))
        self.changes_total[level, reason] += 1
        self.level, self.reason, self.since_s = level, reason, now

    def take_changes(self) -> tuple[Change, ...]:
        """Give the changes since the last call, the oldest first."""
        taken = tuple(self._changes)
        self._changes.clear()
        return taken
