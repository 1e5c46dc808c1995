"""The default policy: what each term of its cost charges for."""

from dataclasses import replace

import numpy as np
import pytest

from predictor.types import EndpointState
from scheduler import build_policy
from scheduler.candidates import Terms, total
from scheduler.settings import PredictedLatencySettings
from tests.scheduler.known_physics import endpoint
from tests.scheduler.policy_cases import candidates, load, terms


def states(**changes: float) -> list[EndpointState]:
    """Make two endpoints, of which the first differs."""
    plain = replace(
        endpoint("b:1"), max_seqs=10, kv_capacity_tokens=100_000, kv_cache_usage=0.5, scraped_s=1.0
    )
    return [replace(plain, endpoint="a:1", **changes), plain]  # type: ignore[arg-type]  # shorthand


def test_a_free_seat_and_room_cost_nothing() -> None:
    found = terms("predicted_latency", candidates([load(3), load(3)], states=states()))

    assert found["wait_for_room"].tolist() == [0.0, 0.0]
    assert found["delay_of_next"].tolist() == [0.0, 0.0]


def test_a_full_batch_costs_the_wait_and_those_who_come_next() -> None:
    found = terms("predicted_latency", candidates([load(12), load(9)], states=states()))

    assert found["wait_for_room"][0] > found["wait_for_room"][1] == 0.0
    assert found["delay_of_next"][0] > found["delay_of_next"][1] == 0.0


def test_a_full_kv_cache_costs_the_wait_for_blocks() -> None:
    given = candidates([load(3), load(3)], states=states(kv_cache_usage=0.995))

    waits = terms("predicted_latency", given)["wait_for_room"]

    assert waits[0] > waits[1] == 0.0


def test_unknown_seats_and_room_count_as_enough() -> None:
    blind = [replace(state, max_seqs=None, kv_capacity_tokens=None) for state in states()]

    found = terms("predicted_latency", candidates([load(500), load(3)], states=blind))

    assert found["wait_for_room"].tolist() == [0.0, 0.0]
    assert found["delay_of_next"].tolist() == [0.0, 0.0]


def test_a_first_token_later_than_need_be_costs_a_share_of_the_rest() -> None:
    given = candidates([load(1, queued_prefill_tokens=50_000.0), load(1)], states=states())

    found = terms("predicted_latency", given)

    assert found["late_first_token"][0] > found["late_first_token"][1] == 0.0


@pytest.mark.parametrize(
    ("objective", "left"),
    [("own", {"ttft", "wait_for_room", "decode"}), ("ttft", {"ttft", "wait_for_room"})],
)
def test_an_objective_of_ones_own_counts_nobody_else(objective: str, left: set[str]) -> None:
    found = scored(objective)

    assert set(found) == left


def test_costs_are_seconds_of_the_right_size() -> None:
    own, whole = total(scored("own")), total(scored("total"))

    assert isinstance(own, np.ndarray)
    assert (own < whole).all()


def scored(objective: str) -> Terms:
    settings = PredictedLatencySettings.model_validate({"objective": objective})
    return build_policy(settings).terms(candidates([load(3), load(5)], states=states()))
