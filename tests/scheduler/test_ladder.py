"""Which level decides, why, and that it does not flap."""

import numpy as np
import pytest

from predictor.features import COLUMN
from predictor.types import FloatArray, Measurement, Predictions
from predictor.values import replace
from scheduler import Dispatch, Scheduler, SchedulerSettings
from scheduler.ladder import FALLBACK_REASONS
from scheduler.policies import Policy
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

TWO = ("slow:1", "fast:1")
SLOW_AND_FAST = {"slow:1": 1e-3, "fast:1": 1e-4}
LADDER = {"failures": 3, "of_last_decisions": 6, "hold_s": 5.0, "error_labels": 10}


class Traffic:
    """One fleet, one request after the other, at times of one's choice."""

    def __init__(self, physics: KnownPhysics | None = None, **settings: object) -> None:
        self.physics = physics or KnownPhysics(SLOW_AND_FAST)
        self.settings = SchedulerSettings.model_validate({"ladder": LADDER, **settings})
        states = [endpoint(name) for name in TWO]
        self.scheduler: Scheduler = make_scheduler(self.physics, states, self.settings)
        self.count = 0

    def decide(self, now: float = 0.0, **asked: object) -> Dispatch:
        self.count += 1
        self.request_id = f"r{self.count}"
        action = self.scheduler.route(request(self.request_id, streamed=True, **asked), now)
        assert isinstance(action, Dispatch)
        return action

    def reason(self, now: float = 0.0) -> str:
        action = self.decide(now)
        self.scheduler.finished(self.request_id, Measurement(outcome="client_gone"), now)
        return action.decision.reason

    def serve(self, *, ttft_factor: float, now: float) -> str:
        """Serve a request whose first token takes a multiple of what was predicted."""
        decision = self.decide(now).decision
        assert decision.predictions is not None
        ttft_s = ttft_factor * float(decision.predictions.ttft_s[decision.chosen])
        self.scheduler.first_token(self.request_id, now + ttft_s)
        done = Measurement(outcome="completed", output_tokens=1)
        self.scheduler.finished(self.request_id, done, now + ttft_s)
        return decision.reason


@pytest.mark.parametrize("layer", ["mixture", "prior"])
def test_predictions_decide_by_the_best_layer_there_is(layer: str) -> None:
    traffic = Traffic(KnownPhysics(SLOW_AND_FAST, layer=layer))  # type: ignore[arg-type]  # parametrised

    reason = traffic.reason()

    trust = traffic.scheduler.fleets["m"].trust
    assert (reason, trust.level, trust.reason) == ("predicted", layer, "predicted")


def test_one_failure_is_its_own_requests_matter() -> None:
    traffic = Traffic()
    reasons = []
    for broken in (False, True, False, True, False):
        traffic.physics.broken = broken
        reasons.append(traffic.reason())

    assert reasons == ["predicted", "prediction_failed"] * 2 + ["predicted"]


def test_after_repeated_failures_the_predictor_is_left_alone_for_a_while() -> None:
    traffic = Traffic()
    traffic.physics.broken = True
    for _ in range(3):
        traffic.reason()
    traffic.physics.broken = False

    resting = traffic.decide(4.9).decision
    again = traffic.decide(5.0).decision

    assert (resting.reason, resting.predictions) == ("prediction_failed", None)
    assert traffic.scheduler.fleets["m"].trust.problem == "broken on purpose"
    assert again.reason == "predicted"


def test_decisions_over_their_budget_rest_the_predictor() -> None:
    traffic = Traffic()
    for seconds in (0.01, 0.05, 0.05, 0.01, 0.05):
        traffic.decide()
        traffic.scheduler.decided(traffic.request_id, seconds, 0.0)

    resting, again = traffic.reason(4.9), traffic.reason(5.0)

    assert (resting, again) == ("prediction_slow", "predicted")


def test_slow_decisions_of_a_heuristic_are_not_the_predictors() -> None:
    traffic = Traffic()
    traffic.scheduler.mode = "heuristic"
    for _ in range(5):
        traffic.decide()
        traffic.scheduler.decided(traffic.request_id, 9.0, 0.0)
    traffic.scheduler.mode = "predicted"

    assert traffic.reason() == "predicted"


@pytest.mark.parametrize("factor", [4.0, 0.2])
def test_predictions_far_off_either_way_decide_no_more_until_they_are_good_for_a_while(
    factor: float,
) -> None:
    traffic = Traffic()

    off = [traffic.serve(ttft_factor=factor, now=float(i)) for i in range(12)]
    better = [traffic.serve(ttft_factor=1.0, now=20.0 + i) for i in range(16)]

    assert off == ["predicted"] * 10 + ["prediction_inaccurate"] * 2
    # Five good ones bring the median back, then it has to stay for five seconds.
    assert set(better[:9]) == {"prediction_inaccurate"}
    assert set(better[12:]) == {"predicted"}


class AtOnce(KnownPhysics):
    """Endpoints that answer at once, predicted to do so in 10 us."""

    def predict(self, *args: object) -> Predictions:
        said = super().predict(*args)  # type: ignore[arg-type]  # passed on
        return replace(said, ttft_s=np.full(len(TWO), 1e-5))


@pytest.mark.parametrize(
    ("ttft_s", "reasons"),
    [(3e-4, {"predicted"}), (5e-3, {"predicted", "prediction_inaccurate"})],
)
def test_a_time_below_a_millisecond_counts_as_one(ttft_s: float, reasons: set[str]) -> None:
    traffic = Traffic(AtOnce(SLOW_AND_FAST))

    seen = {traffic.serve(ttft_factor=ttft_s / 1e-5, now=float(i)) for i in range(30)}

    assert seen == reasons


def test_between_the_two_bounds_nothing_changes() -> None:
    traffic = Traffic()

    before = {traffic.serve(ttft_factor=2.5, now=float(i)) for i in range(30)}
    for i in range(12):
        traffic.serve(ttft_factor=4.0, now=40.0 + i)
    after = {traffic.serve(ttft_factor=2.5, now=60.0 + i) for i in range(30)}

    assert before == {"predicted"}
    assert after == {"prediction_inaccurate"}


def test_what_was_predicted_while_cold_is_held_against_nobody() -> None:
    traffic = Traffic(KnownPhysics(SLOW_AND_FAST, layer="cold"))
    for i in range(30):
        traffic.serve(ttft_factor=9.0, now=float(i))
    traffic.physics.layer = "prior"

    assert traffic.reason(31.0) == "predicted"


def test_every_change_is_told_once_with_its_reason() -> None:
    traffic = Traffic(KnownPhysics(SLOW_AND_FAST, layer="cold"))
    trust_of = traffic.scheduler.fleets["m"]
    for now, layer in enumerate(("cold", "cold", "prior", "mixture", "mixture")):
        traffic.physics.layer = layer  # type: ignore[assignment]  # as above
        traffic.reason(float(now))

    changes = trust_of.trust.take_changes()

    assert [(change.level, change.reason, change.at_s) for change in changes] == [
        ("heuristic", "cold", 0.0),
        ("prior", "predicted", 2.0),
        ("mixture", "predicted", 3.0),
    ]
    assert [change.before for change in changes] == [None, "heuristic", "prior"]
    assert trust_of.trust.take_changes() == ()
    assert trust_of.trust.changes_total["prior", "predicted"] == 1


class BrokenScores(KnownPhysics):
    """Predictions that are no numbers."""

    def predict(self, *args: object) -> Predictions:
        said = super().predict(*args)  # type: ignore[arg-type]  # passed on
        return replace(said, rank_ttft_s=said.rank_ttft_s * np.nan)


def test_scores_that_are_no_numbers_go_down_the_ladder_and_rest_the_predictor() -> None:
    traffic = Traffic(BrokenScores(SLOW_AND_FAST))

    first = traffic.decide().decision
    for _ in range(5):
        traffic.reason()

    assert (first.reason, first.policy) == ("scores_unusable", "lmetric")
    assert traffic.reason() == "prediction_failed"


class NotNumbers:
    """A heuristic gone wrong."""

    name = "lmetric"

    def terms(self, candidates: object) -> dict[str, FloatArray]:
        return {"nothing": np.full(2, np.inf)}


def test_below_the_heuristic_the_fewest_requests_decide() -> None:
    traffic = Traffic(KnownPhysics(layer="cold"))
    fallback: Policy = NotNumbers()  # type: ignore[assignment]  # needs nothing
    traffic.scheduler.fleets["m"].fallback = fallback

    first, second = traffic.decide().decision, traffic.decide().decision

    assert first.policy == second.policy == "least_request"
    assert {first.endpoint, second.endpoint} == set(TWO)
    assert first.reason in FALLBACK_REASONS
    assert traffic.scheduler.fleets["m"].trust.level == "least_request"


def test_scrapes_too_old_count_as_unknown_and_our_own_counts_still_decide() -> None:
    physics = KnownPhysics()
    states = [endpoint(name, waiting_requests=7.0, kv_capacity_tokens=9000) for name in TWO]
    scheduler = make_scheduler(physics, states)
    fresh = scheduler.preview(request(), now=1.0)

    chosen = [scheduler.route(request(f"r{i}"), now=60.0) for i in range(4)]

    assert fresh is not None
    assert fresh.features[:, COLUMN["waiting_requests"]].tolist() == [7.0, 7.0]
    assert all(isinstance(action, Dispatch) for action in chosen)
    decisions = [action.decision for action in chosen if isinstance(action, Dispatch)]
    assert sorted(decision.endpoint for decision in decisions) == sorted(TWO * 2)
    assert {decision.reason for decision in decisions} == {"predicted"}
    last = decisions[-1].features
    assert np.isnan(last[:, COLUMN["waiting_requests"]]).all()
    assert last[:, COLUMN["kv_capacity_tokens"]].tolist() == [9000, 9000]
    assert last[:, COLUMN["scrape_age_s"]].tolist() == [60.0, 60.0]


def test_other_bounds_are_taken_into_force_without_a_restart() -> None:
    traffic = Traffic()
    traffic.physics.broken = True
    for _ in range(3):
        traffic.reason()
    traffic.physics.broken = False

    traffic.scheduler.configure(SchedulerSettings())

    assert traffic.reason() == "predicted"
