"""What the predictor's API takes to learn from, and how it is learned beside serving."""

import asyncio
from collections import Counter
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from foretoken.learner import SLICE_ROWS
from foretoken.model_updates import ModelUpdates
from foretoken.predictor_host import PredictorHost
from foretoken.trainer_protocol import Report
from foretoken.training import publish
from models_store import ModelsStore
from predictor import LatencyPredictor, PredictorSettings, train
from predictor.features import COLUMN, N_FEATURES
from predictor.types import Observation, Use
from proxy import ModelMetrics
from proxy.control import PredictorApiSettings
from tests.foretoken.observed import observe


class Held:
    """A host with everything around it that a test looks at."""

    def __init__(self, folder: Path, **settings: int) -> None:
        registry = CollectorRegistry()
        self.models = ModelUpdates(ModelsStore(folder), ModelMetrics(registry))
        self.fed: list[Observation] = []
        self.forgotten: list[str] = []
        self.refused: Counter[str] = Counter()
        self.now = 1000.0
        self.host = PredictorHost(
            settings=PredictorApiSettings(**settings),
            predictor=PredictorSettings(),
            models=self.models,
            clock=lambda: self.now,
            feed=self.fed.append,
            forget=self.forgotten.append,
            trainer_alive=lambda: False,
            registry=registry,
            refused=lambda reason: self.refused.update([reason]),
        )

    def learn_all(self) -> None:
        while len(self.host.learner):
            self.host.learner.learn_some()


def seen(
    model: str = "m",
    endpoint: str = "a:1",
    *,
    tokens: float = 1000.0,
    ttft_s: float | None = 0.1,
    tpot_s: float | None = 0.02,
    total_s: float | None = None,
    waited_s: float | None = None,
    output_tokens: int | None = None,
    use: Use = "fully",
) -> Observation:
    features = np.full(N_FEATURES, np.nan)
    features[COLUMN["prompt_tokens"]] = features[COLUMN["uncached_tokens"]] = tokens
    return Observation(
        endpoint=endpoint,
        model=model,
        hardware=None,
        observed_s=1000.0,
        features=features,
        upstream_ttft_s=ttft_s,
        tpot_s=tpot_s,
        total_s=total_s,
        waited_s=waited_s,
        output_tokens=output_tokens,
        use=use,
    )


def test_observations_teach_their_model_and_reach_the_trainer(tmp_path: Path) -> None:
    held = Held(tmp_path)

    taken = held.host.observe([seen(), seen(), seen("other")])
    held.learn_all()

    labels = {view.model: view.labels for view in held.host.fleets()}
    assert (taken.accepted, taken.refused) == (3, {})
    assert labels == {"m": {"ttft": 2, "tpot": 2}, "other": {"ttft": 1, "tpot": 1}}
    assert [each.model for each in held.fed] == ["m", "m", "other"]
    assert all(each.experts is not None for each in held.fed)
    assert all(each.predicted_ttft_s is not None for each in held.fed)


def test_a_slice_is_predicted_before_any_of_it_is_learned(tmp_path: Path) -> None:
    held = Held(tmp_path)

    held.host.observe([seen(ttft_s=2.0)] * (SLICE_ROWS + 1))
    held.learn_all()

    stated = [each.predicted_ttft_s for each in held.fed]
    assert len(set(stated[:SLICE_ROWS])) == 1
    assert stated[SLICE_ROWS] != stated[0]


def test_bad_labels_are_counted_by_reason_and_move_nothing(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.host.observe([seen()])
    held.learn_all()
    row = seen().features[None]
    before = held.host.predictor("m").predict(row, ["a:1"], [None]).ttft_s

    taken = held.host.observe(
        [
            seen(ttft_s=-1.0, tpot_s=None),
            seen(ttft_s=float("nan"), tpot_s=None),
            seen(ttft_s=1e6, tpot_s=0.0),
            seen(tokens=1e9),
            seen(ttft_s=None, tpot_s=None),
        ]
    )
    held.learn_all()

    assert taken.accepted == 0
    assert taken.refused == {
        "ttft_not_positive": 1,
        "ttft_not_finite": 1,
        "ttft_absurd": 1,
        "tpot_not_positive": 1,
        "bad_features": 1,
        "nothing_measured": 1,
    }
    assert held.host.predictor("m").predict(row, ["a:1"], [None]).ttft_s == before
    assert len(held.fed) == 1
    assert held.host.fleets()[0].refused["ttft_absurd"] == 1


def test_a_miss_alone_widens_the_p90_and_trains_nothing(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.host.observe([seen()] * 50)
    held.learn_all()
    predictor, row = held.host.predictor("m"), seen().features[None]
    before = predictor.predict(row, ["a:1"], [None])

    taken = held.host.observe([seen(ttft_s=None, tpot_s=None, waited_s=0.5)] * 8)
    wrong = held.host.observe([seen(ttft_s=None, tpot_s=None, waited_s=-0.5)])
    held.learn_all()

    after = predictor.predict(row, ["a:1"], [None])
    assert (taken.accepted, taken.refused) == (8, {})
    assert (wrong.accepted, wrong.refused) == (0, {"waited_not_positive": 1})
    assert after.ttft_s == before.ttft_s
    assert after.ttft_p90_s > before.ttft_p90_s
    assert len(held.fed) == 50


def test_a_total_teaches_both_targets_and_is_trained_on(tmp_path: Path) -> None:
    held = Held(tmp_path)

    taken = held.host.observe([seen(ttft_s=None, tpot_s=None, total_s=3.0, output_tokens=100)] * 10)
    held.learn_all()

    assert taken.accepted == 10
    assert held.host.fleets()[0].labels == {"ttft": 10, "tpot": 10}
    assert all(each.total_s == 3.0 and each.predicted_ttft_s for each in held.fed)


def test_a_total_that_cannot_be_split_is_refused(tmp_path: Path) -> None:
    held = Held(tmp_path)

    taken = held.host.observe(
        [
            seen(ttft_s=None, tpot_s=None, total_s=3.0),
            seen(ttft_s=None, tpot_s=None, total_s=3.0, output_tokens=10, tokens=1e9),
        ]
    )

    assert (taken.accepted, taken.refused) == (0, {"nothing_measured": 1, "bad_features": 1})


def test_a_tpot_told_early_and_again_is_learned_scored_and_trained_on_once(tmp_path: Path) -> None:
    held = Held(tmp_path)

    held.host.observe([seen(ttft_s=None, tpot_s=0.02, output_tokens=30, use="teaching")])
    held.host.observe([seen(ttft_s=None, tpot_s=0.03, output_tokens=90, use="scoring")])
    held.learn_all()

    (view,) = held.host.fleets()
    assert view.labels == {"ttft": 0, "tpot": 1}
    assert view.targets[1].mdape_ratio is not None
    assert [each.use for each in held.fed] == ["teaching"]


def test_early_labels_without_a_use_count_each(tmp_path: Path) -> None:
    held = Held(tmp_path)

    held.host.observe([seen(tpot_s=None), seen(ttft_s=None, output_tokens=30)])
    held.learn_all()

    assert held.host.fleets()[0].labels == {"ttft": 1, "tpot": 1}
    assert len(held.fed) == 2


def test_bad_labels_alone_introduce_no_model(tmp_path: Path) -> None:
    held = Held(tmp_path)

    held.host.observe([seen("new", ttft_s=-1.0, tpot_s=None)])

    assert held.host.fleets() == []


def test_names_that_callers_choose_are_bounded(tmp_path: Path) -> None:
    held = Held(tmp_path, max_models=2, max_endpoints=3)

    models = held.host.observe([seen(f"m{n}") for n in range(5)])
    endpoints = held.host.observe([seen("m0", f"e{n}:1") for n in range(5)])

    assert (models.accepted, models.refused) == (2, {"too_many_models": 3})
    assert (endpoints.accepted, endpoints.refused) == (2, {"too_many_endpoints": 3})
    assert held.refused == {"too_many_models": 3, "too_many_endpoints": 3}


def test_more_than_may_wait_is_refused_and_counted(tmp_path: Path) -> None:
    held = Held(tmp_path, max_waiting_observations=4)

    taken = held.host.observe([seen()] * 6)
    held.learn_all()
    later = held.host.observe([seen()])

    assert (taken.accepted, taken.refused) == (4, {"too_many_waiting": 2})
    assert later.accepted == 1


def test_asking_about_an_unknown_model_introduces_none(tmp_path: Path) -> None:
    held = Held(tmp_path)

    said = held.host.predictor("never seen").predict(seen().features[None], ["a:1"], [None])

    assert said.layer == "cold"
    assert held.host.fleets() == []


def test_forgetting_starts_the_apis_own_models_anew(tmp_path: Path) -> None:
    held = Held(tmp_path)
    beside = LatencyPredictor()
    held.models.adopt("served", beside)
    held.host.observe([seen("m"), seen("m", tpot_s=None), seen("served")])
    held.learn_all()
    held.host.observe([seen("m")])

    own, served = held.host.forget("m"), held.host.forget("served")
    held.learn_all()

    assert (own, served) == ((2, 1), (0, 0))
    assert held.host.predictor("m").report().observations == {"ttft": 0, "tpot": 0}
    assert held.host.predictor("served") is beside
    assert held.forgotten == ["m"]
    assert beside.report().observations == {"ttft": 1, "tpot": 1}


def test_a_model_that_the_service_begins_to_serve_is_no_longer_the_apis(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.host.observe([seen("m")])
    held.learn_all()
    serving = LatencyPredictor()
    held.models.adopt("m", serving)

    forgotten = held.host.forget("m")

    assert forgotten == (0, 0)
    assert held.host.predictor("m") is serving
    assert held.forgotten == []


def test_a_stored_version_is_in_use_again_after_forgetting(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.host.observe([seen()])
    held.learn_all()
    version = publish(ModelsStore(tmp_path), "m", train(observe(200)))
    asyncio.run(held.models.refresh())

    held.host.forget("m")

    assert held.host.predictor("m").report().version == version


def test_how_the_last_training_went_is_told(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.host.observe([seen()])
    report = Report(
        fleet="m", seconds=0.5, rows=10, accepted=False, reason="worse", detail="ttft error 0.2",
        way="full", refused={"ttft_not_positive": 3},
    )  # fmt: skip

    held.models.trained(report, now=5.0)

    training = held.host.fleets()[0].training
    assert (training.last_result, training.message) == ("worse", "ttft error 0.2")
    assert (training.way, training.refused) == ("full", {"ttft_not_positive": 3})


def test_why_a_stored_version_is_not_served_is_told_until_it_is(tmp_path: Path) -> None:
    held = Held(tmp_path)
    held.host.observe([seen()])
    store = ModelsStore(tmp_path)
    foreign = store.publish("m", b"{}", schema_hash="0" * 16, model_format="other", now=1.0)

    asyncio.run(held.models.refresh())
    problem = held.host.fleets()[0].problem
    publish(store, "m", train(observe(200)))
    asyncio.run(held.models.refresh())

    assert problem is not None
    assert foreign in problem
    assert held.host.fleets()[0].problem is None


def test_a_version_is_served_since_it_was_first_seen(tmp_path: Path) -> None:
    held = Held(tmp_path)

    first = held.host.served_since_s("m", "v1")
    held.now = 2000.0
    again, newer = held.host.served_since_s("m", "v1"), held.host.served_since_s("m", "v2")

    assert (first, again, newer) == (1000.0, 1000.0, 2000.0)
    assert held.host.served_since_s("m", None) is None


def test_the_learner_learns_what_comes_while_it_runs(tmp_path: Path) -> None:
    held = Held(tmp_path)

    async def scenario() -> None:
        running = asyncio.create_task(held.host.learner.run())
        for _ in range(3):
            held.host.observe([seen()] * 5)
            while len(held.host.learner):
                await asyncio.sleep(0)
        running.cancel()

    asyncio.run(scenario())

    assert held.host.fleets()[0].labels == {"ttft": 15, "tpot": 15}
