from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest

from simulator.language import Language, tokenize_chat
from simulator.workload import DEFAULT_MIX, Arrival, conversations


def _sessions(arrivals: list[Arrival]) -> dict[str, list[Arrival]]:
    sessions: dict[str, list[Arrival]] = defaultdict(list)
    for arrival in arrivals:
        sessions[arrival.session_id].append(arrival)
    return sessions


def test_a_seed_fixes_everything() -> None:
    first, again, other = (conversations(seed, 20.0, 5.0) for seed in (7, 7, 8))

    assert first == again
    assert first != other


def test_arrivals_come_in_order_and_at_the_rate_asked_for() -> None:
    arrivals = conversations(3, 400.0, 5.0)

    times = [arrival.at_s for arrival in arrivals]
    assert times == sorted(times)
    assert 0.0 <= times[0] < times[-1] < 400.0
    assert len(arrivals) == pytest.approx(2000, rel=0.1)


def test_the_rate_is_the_same_from_the_start_on() -> None:
    arrivals = conversations(3, 400.0, 5.0)

    early = sum(arrival.at_s < 100.0 for arrival in arrivals)

    assert early == pytest.approx(500, rel=0.2)


def test_a_turn_repeats_the_conversation_and_what_an_endpoint_answers() -> None:
    language = Language()
    pairs = [
        (before, after)
        for session in _sessions(conversations(5, 60.0, 5.0)).values()
        for before, after in pairwise(session)
    ]

    assert len(pairs) > 50
    for before, after in pairs:
        answer = language.answer(tokenize_chat(before.messages), before.output_tokens)
        assert after.messages[:-1] == (*before.messages, ("assistant", answer))
        assert after.at_s > before.at_s


def test_users_of_a_group_share_their_system_prompt() -> None:
    prompts = defaultdict(set)
    for arrival in conversations(5, 60.0, 5.0):
        if arrival.group is not None:
            prompts[arrival.group].add(arrival.messages[0])

    assert len(prompts) == DEFAULT_MIX.groups
    assert all(len(shared) == 1 for shared in prompts.values())


def test_sizes_are_those_of_the_mix() -> None:
    mix = replace(DEFAULT_MIX, oneoff_share=0.5)

    arrivals = conversations(5, 60.0, 5.0, mix)

    oneoffs = [arrival for arrival in arrivals if arrival.group is None]
    assert len(oneoffs) == pytest.approx(150, rel=0.3)
    assert all(4000 <= arrival.prompt_tokens <= 8000 + 20 for arrival in oneoffs)
    assert all(30 <= arrival.output_tokens <= 250 for arrival in arrivals)


def test_no_oneoffs_and_no_rate_give_what_they_say() -> None:
    mix = replace(DEFAULT_MIX, oneoff_share=0.0)

    assert all(arrival.group is not None for arrival in conversations(5, 30.0, 5.0, mix))
    assert conversations(5, 30.0, 0.0, mix) == []
