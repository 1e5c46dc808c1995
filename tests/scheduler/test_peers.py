"""Two schedulers on the same endpoints: what one does, the other takes into account."""

import numpy as np
import pytest

from predictor.features import COLUMN, N_FEATURES
from predictor.types import Measurement, Objective, Observation
from predictor.values import replace
from scheduler import Dispatch, SchedulerSettings
from scheduler.forecast import Typical
from scheduler.peers import PeerScheduler
from scheduler.words import Left, Sent, Shown, Suspected
from tests.scheduler.known_physics import MODEL, endpoint, request
from tests.scheduler.pair import Pair

DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=11, cached_tokens=900)

FAR_OFF = Observation(
    endpoint="a:1",
    model=MODEL,
    hardware=None,
    observed_s=1.0,
    features=np.zeros(N_FEATURES),
    upstream_ttft_s=5.0,
    predicted_ttft_s=0.1,
)


def goes_to(scheduler: PeerScheduler, request_id: str, **changes: object) -> str:
    action = scheduler.route(request(request_id, **changes), now=0.0)
    assert isinstance(action, Dispatch)
    return action.endpoint


def test_two_workers_do_not_herd() -> None:
    pair = Pair(*(endpoint(f"e{i}:1") for i in range(4)))

    chosen = [goes_to((pair.one, pair.two)[i % 2], f"r{i}") for i in range(8)]

    assert sorted(chosen) == sorted([f"e{i}:1" for i in range(4)] * 2)


def test_two_workers_do_not_take_the_same_free_seat() -> None:
    pair = Pair(endpoint("a:1"))
    looks = pair.links[0].looks

    list(pair.one.tick(0.0))  # nobody waits for one
    assert looks == []
    pair.one.update([endpoint("a:1", up=False)])
    pair.one.route(request("waits"), now=0.0)
    assert pair.one.waiting_requests == 1
    looks.clear()
    pair.one.update([endpoint("a:1")])
    goes_to(pair.two, "takes it")
    (released,) = pair.one.tick(0.1)

    assert looks[0]
    assert isinstance(released, Dispatch)
    features = released.decision.features
    assert features[0, COLUMN["inflight_requests"]] == 1.0


def test_one_that_places_nothing_tells_of_what_the_others_placed() -> None:
    pair = Pair(endpoint("a:1"))
    fleet = pair.two.fleets[MODEL]
    typical = Typical(prompt_tokens=1000.0, cached_tokens=0.0, output_tokens=10.0)

    goes_to(pair.one, "first")
    rooms = pair.two.rooms(fleet, 0.0)
    goes_to(pair.one, "second")
    forecast = pair.two.forecast(MODEL, typical, 0.0)
    goes_to(pair.one, "third")
    preview = pair.two.preview(request("never"), 0.0)

    assert rooms["a:1"].compute > 0.0
    assert forecast is not None
    assert forecast.predictions.tpot_s == pytest.approx([0.01 + 2 * 0.01])
    assert preview is not None
    assert preview.features[0, COLUMN["inflight_requests"]] == 3.0


def test_a_prompt_goes_where_the_other_worker_sent_it() -> None:
    pair = Pair(endpoint("a:1"), endpoint("b:1"))
    hashes = tuple(range(15))
    first = goes_to(pair.one, "first", block_hashes=hashes)
    pair.one.finished("first", DONE, now=0.2)
    pair.deliver()

    action = pair.two.route(request("again", block_hashes=hashes), now=1.0)

    assert isinstance(action, Dispatch)
    assert action.endpoint == first
    assert action.decision.matched_tokens[action.decision.chosen] == pytest.approx(960)


def test_a_conversation_stays_where_the_other_worker_sent_it() -> None:
    settings = SchedulerSettings(session="strict")
    pair = Pair(endpoint("a:1"), endpoint("b:1"), endpoint("c:1"), settings=settings)
    first = goes_to(pair.one, "first", session_id="s")
    pair.deliver()

    action = pair.two.route(request("again", session_id="s"), now=0.0)

    assert isinstance(action, Dispatch)
    assert (action.endpoint, action.decision.reason) == (first, "session")


def test_what_the_other_worker_promised_is_kept_until_it_has_left() -> None:
    pair = Pair(endpoint("a:1"))
    goes_to(pair.one, "urgent", objective=Objective(ttft_s=1.0, tpot_s=0.1))
    pair.deliver()
    promises = pair.two.fleets[MODEL].promises
    during = len(promises)

    pair.one.finished("urgent", DONE, now=0.5)
    words = pair.deliver()

    assert (during, len(promises)) == (1, 0)
    assert Left("urgent") in words


def test_a_worker_that_is_gone_has_promised_nothing() -> None:
    pair = Pair(endpoint("a:1"))
    goes_to(pair.one, "urgent", objective=Objective(ttft_s=1.0))
    goes_to(pair.two, "own", objective=Objective(ttft_s=1.0))
    pair.deliver()

    pair.two.lost(0)

    assert len(pair.two.fleets[MODEL].promises) == 1


def test_both_learn_what_one_answer_shows() -> None:
    pair = Pair(endpoint("a:1"))
    goes_to(pair.one, "r", prompt_bytes=100_000, tenant="t")
    pair.one.finished(
        "r", Measurement(outcome="completed", prompt_tokens=50_000, output_tokens=500), now=1.0
    )

    pair.deliver()

    ratios = [each.fleets[MODEL].token_ratio.bytes_per_token for each in (pair.one, pair.two)]
    assert ratios[0] == ratios[1] < 2.5
    lengths = [
        each.fleets[MODEL].output_lengths.expected("t", None, session=None)
        for each in (pair.one, pair.two)
    ]
    assert lengths[0] == lengths[1]


def test_a_request_that_has_nothing_to_tell_tells_nothing_when_it_goes() -> None:
    pair = Pair(endpoint("a:1"))

    goes_to(pair.one, "plain")

    assert pair.deliver() == []


def test_news_of_unknown_endpoints_and_fleets_are_dropped() -> None:
    pair = Pair(endpoint("a:1"))
    hashes = (1, 2, 3)

    pair.two.heard(0, Sent("r", MODEL, "gone:1", MODEL, "s", hashes, 1.0, None, 0), 0.0)
    pair.two.heard(0, Sent("r", "other", "a:1", MODEL, "s", hashes, 1.0, None, 0), 0.0)
    pair.two.heard(0, Shown("other", "a:1", None, None, 100, 10, 10, 0.0, 0), 0.0)

    assert goes_to(pair.two, "r", block_hashes=hashes) == "a:1"
    assert len(pair.two.fleets[MODEL].promises) == 0


def test_a_finished_request_leaves_nothing_booked_anywhere() -> None:
    pair = Pair(endpoint("a:1"))
    goes_to(pair.one, "r")
    pair.one.finished("r", DONE, now=1.0)

    action = pair.two.route(request("other"), now=1.0)

    assert isinstance(action, Dispatch)
    row = action.decision.features[0]
    assert row[COLUMN["inflight_requests"]] == 0.0
    assert row[COLUMN["queued_prefill_tokens"]] == 0.0


def test_a_failing_endpoint_is_left_alone_by_all() -> None:
    pair = Pair(endpoint("a:1"), endpoint("b:1"))
    action = pair.one.route(request("r"), 0.0)
    assert isinstance(action, Dispatch)

    pair.one.reroute("r", 0.0)
    words = pair.deliver()

    assert Suspected(action.endpoint, "unreachable") in words
    assert pair.two.suspicion(action.endpoint, 0.1) == "unreachable"
    pair.two.heard(0, Suspected("gone:1", "failing"), 0.0)
    assert pair.two.suspicion("gone:1", 0.1) is None


def test_what_is_far_off_at_one_is_far_off_at_both() -> None:
    pair = Pair(endpoint("a:1"))
    goes_to(pair.two, "first")  # predictions decide
    labels = pair.two.settings.ladder.error_labels
    reasons = []

    for use in ("teaching", "fully"):
        for _ in range(labels):
            pair.two.heard_lesson(replace(FAR_OFF, use=use))
        action = pair.two.route(request(use), now=2.0)
        assert isinstance(action, Dispatch)
        reasons.append(action.decision.reason)
    pair.two.heard_lesson(replace(FAR_OFF, model="unknown"))

    assert reasons == ["predicted", "prediction_inaccurate"]


def test_one_that_knows_nothing_yet_judges_nobody() -> None:
    pair = Pair(endpoint("a:1"))

    for _ in range(2 * pair.two.settings.ladder.error_labels):
        pair.two.heard_lesson(FAR_OFF)

    assert not pair.two.fleets[MODEL].trust.is_inaccurate
