import pytest

from foretoken.errors import TraceNotReplayable
from foretoken.replay.demand import demand_of
from predictor.types import Objective
from tests.foretoken.replay.rows import recorded

ENOUGH = [recorded(number) for number in range(25)]


def test_the_shed_and_the_failed_are_demand_with_answers_like_the_others() -> None:
    shed = recorded(25, outcome="shed", endpoint=None, output_tokens=None, dispatched_s=None)
    cut = recorded(26, outcome="cut", output_tokens=3)

    demand = demand_of([*ENOUGH, shed, cut])

    assert len(demand.requests) == 27
    assert demand.output_tokens[-2:] == (64, 64)
    assert demand.drawn == 2


def test_what_was_refused_as_wrong_or_answered_by_a_cache_is_no_demand() -> None:
    wrong = recorded(25, outcome="client_error")
    cached = recorded(26, endpoint=None)
    embedding = recorded(27, output_tokens=None)

    demand = demand_of([*ENOUGH, wrong, cached, embedding])

    assert len(demand.requests) == 25
    assert sum(demand.left_out.values()) == len(demand.left_out) == 3


def test_too_few_answers_say_nothing() -> None:
    with pytest.raises(TraceNotReplayable, match="3 requests were answered"):
        demand_of(ENOUGH[:3])


def test_requests_keep_their_names_times_and_objectives() -> None:
    asked = recorded(25, objective=Objective(ttft_s=0.5), tier="batch", priority=2)

    (*_, request) = demand_of([*ENOUGH, asked]).traffic(times=2.0)

    assert (request.request_id, request.at_s) == ("25", 12.5)
    assert (request.objective_ttft_s, request.objective_tpot_s) == (0.5, None)
    assert (request.tier, request.priority) == ("batch", -2)


def test_a_turn_waits_for_the_answer_it_goes_on_from() -> None:
    first = recorded(25, blocks=(1, 2), session="s", prompt_tokens=128)
    second = recorded(26, blocks=(1, 2, 3, 4), session="s", prompt_tokens=256)
    hashed = [recorded(number, blocks=(100 + number,)) for number in range(25)]

    chains = [list(chain) for chain in demand_of([*hashed, first, second]).chains()]

    assert [one.request_id for one in chains[-1]] == ["25", "26"]
    assert all(len(chain) == 1 for chain in chains[:-1])
