"""What a typical request would see at each endpoint, for people who look."""

import pytest

from predictor import PredictionFailed
from predictor.types import FloatArray, Predictions
from scheduler import Dispatch, Typical
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

MODEL = request().model
TYPICAL = Typical(prompt_tokens=1000.0, cached_tokens=400.0, output_tokens=100.0)


class Broken(KnownPhysics):
    """A predictor that cannot."""

    def predict(self, features: FloatArray, endpoints: object, hardware: object) -> Predictions:
        raise PredictionFailed("no")


def test_every_endpoint_that_is_up_is_asked_about_draining_or_not() -> None:
    states = [endpoint("a:1"), endpoint("b:1", draining=True), endpoint("c:1", up=False)]
    scheduler = make_scheduler(KnownPhysics({"a:1": 1e-4, "b:1": 1e-3}), states)

    said = scheduler.forecast(MODEL, TYPICAL, now=0.0)

    assert said is not None
    assert said.endpoints == ("a:1", "b:1")
    # 600 tokens that are not cached, after 10 ms
    assert said.predictions.ttft_s == pytest.approx([0.07, 0.61])


def test_asking_changes_nothing_of_what_is_decided() -> None:
    chosen = []
    for asks in (False, True):
        scheduler = make_scheduler(KnownPhysics(), [endpoint(f"e{i}:1") for i in range(4)])
        for number in range(12):
            if asks:
                scheduler.forecast(MODEL, TYPICAL, now=0.0)
            action = scheduler.route(request(f"r{number}"), now=0.0)
            assert isinstance(action, Dispatch)
            chosen.append(action.endpoint)

    assert chosen[:12] == chosen[12:]


def test_the_load_there_counts() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])
    before = scheduler.forecast(MODEL, TYPICAL, now=0.0)
    scheduler.route(request("r"), now=0.0)

    after = scheduler.forecast(MODEL, TYPICAL, now=0.0)

    assert before is not None
    assert after is not None
    assert after.predictions.ttft_s[0] > before.predictions.ttft_s[0]


def test_nobody_is_asked_of_a_fleet_that_is_none_or_under_the_kill_switch() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1")])

    unknown = scheduler.forecast("another", TYPICAL, now=0.0)
    scheduler.mode = "heuristic"
    killed = scheduler.forecast(MODEL, TYPICAL, now=0.0)

    assert (unknown, killed) == (None, None)


def test_a_predictor_that_fails_is_not_held_against_it() -> None:
    scheduler = make_scheduler(Broken(), [endpoint("a:1")])

    said = [scheduler.forecast(MODEL, TYPICAL, now=0.0) for _ in range(20)]

    assert said == [None] * 20
    assert scheduler.fleets[MODEL].trust.problem is None
    assert scheduler.fleets[MODEL].trust.rests(0.0) is None
