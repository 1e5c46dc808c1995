"""Drift alarms are river's own."""

import random

import pytest
from river import drift

from predictor.drift import DriftCount
from predictor.settings import DriftSettings


@pytest.mark.parametrize("seed", range(5))
def test_alarms_come_when_rivers_page_hinkley_has_them(seed: int) -> None:
    rng, settings = random.Random(seed), DriftSettings()
    ours = DriftCount(settings)
    theirs = drift.PageHinkley(
        min_instances=30,
        delta=settings.delta_log,
        threshold=settings.threshold_log,
        mode="up",
    )
    counted, expected, alarms = [], [], 0

    for level in (0.1, 0.6, 0.1, 2.5, 0.2):
        for _ in range(400):
            error = rng.expovariate(1.0 / level)
            ours.learn(error)
            counted.append(ours.alarms)
            theirs.update(min(error, 3.0))
            alarms += bool(theirs.drift_detected)
            expected.append(alarms)

    assert alarms > 0
    assert counted == expected
