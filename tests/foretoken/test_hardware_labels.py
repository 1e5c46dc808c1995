"""One naming of hardware: what an endpoint may be labelled is what can be simulated."""

from predictor.hardware import PROFILES
from simulator import profiles


def test_the_predictors_labels_are_the_simulators_profiles() -> None:
    assert set(PROFILES) == set(profiles())
