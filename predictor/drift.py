"""Tell when errors start to grow: information for people, never a reset.

Resetting experts on such alarms was measured to wreck them; the forgetting that every
model here has recovers by itself.
"""

from river import drift

from predictor.settings import DriftSettings


class DriftCount:
    """Count Page-Hinkley alarms on the absolute log error of one target.

    Errors are in log seconds, each counting as 3 at most.
    Source: E. S. Page, Continuous Inspection Schemes (1954), as in river.drift.

    >>> count = DriftCount()
    >>> for error in [0.1] * 100 + [1.5] * 20:
    ...     count.learn(error)
    >>> count.alarms
    1
    """

    def __init__(self, settings: DriftSettings | None = None) -> None:
        settings = settings or DriftSettings()
        self._detector = drift.PageHinkley(
            min_instances=30,
            delta=settings.delta_log,
            threshold=settings.threshold_log,
            mode="up",
        )
        self.alarms = 0

    def learn(self, error: float) -> None:
        """Take in one absolute log error."""
        self._detector.update(min(error, 3.0))  # type: ignore[no-untyped-call]  # river is not annotated
        self.alarms += bool(self._detector.drift_detected)
