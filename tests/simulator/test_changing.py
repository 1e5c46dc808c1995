"""Workloads whose traffic changes at a time."""

from itertools import chain

import pytest

from simulator.errors import WorkloadInvalid
from simulator.traffic import TrafficRequest
from simulator.workloads import load_workload
from simulator.workloads.changing import Burst, Switched
from simulator.workloads.workload import Workload


def _requests(
    workload: Workload, *, rate: float = 5.0, until_s: float = 60.0
) -> list[TrafficRequest]:
    chains = workload.chains(seed=1, rate=rate, until_s=until_s)
    return sorted(chain.from_iterable(chains), key=lambda one: one.at_s or 0.0)


def test_a_switch_sends_one_then_the_other_at_its_own_rate() -> None:
    before, after = load_workload("sharegpt"), load_workload("post-c")

    sent = _requests(Switched(before, after, at_s=20.0, rate=10.0))

    first = [one for one in sent if (one.at_s or 0.0) < 20.0]
    then = [one for one in sent if (one.at_s or 0.0) >= 20.0]
    assert len(first) == pytest.approx(100, rel=0.3)
    assert len(then) == pytest.approx(400, rel=0.3)
    assert all(one.session_id.startswith("then-") for one in then)
    assert first == [one for one in _requests(before) if (one.at_s or 0.0) < 20.0]


def test_what_takes_over_shares_no_prompt_with_what_was_before() -> None:
    same = load_workload("post-c")

    sent = _requests(Switched(same, same, at_s=20.0, rate=5.0))

    before = {part for one in sent if (one.at_s or 0.0) < 20.0 for part, _ in one.segments}
    after = {part for one in sent if (one.at_s or 0.0) >= 20.0 for part, _ in one.segments}
    assert before
    assert after
    assert not before & after


def test_a_burst_is_what_would_have_come_next_all_at_once_and_then_nothing() -> None:
    base = load_workload("post-c")

    sent = _requests(Burst(base, at_s=20.0, requests=50, within_s=0.001))

    usual = _requests(base)
    before = sum((one.at_s or 0.0) < 20.0 for one in usual)
    burst = sent[before:]
    assert sent[:before] == usual[:before]
    assert len(burst) == 50
    assert [one.segments for one in burst] == [one.segments for one in usual[before:][:50]]
    assert all(20.0 <= (one.at_s or 0.0) < 20.001 for one in burst)


def test_a_burst_larger_than_what_follows_is_refused() -> None:
    with pytest.raises(WorkloadInvalid, match="requests follow"):
        _requests(Burst(load_workload("post-c"), at_s=59.0, requests=5000, within_s=0.1))


@pytest.mark.parametrize("position", [0, 1])
def test_a_closed_loop_has_no_times_to_change_at(position: int) -> None:
    halves = [load_workload("sharegpt"), load_workload("sharegpt")]
    halves[position] = load_workload("reasoning")

    with pytest.raises(WorkloadInvalid, match="closed loop"):
        Switched(*halves, at_s=1.0, rate=1.0)


def test_both_halves_have_to_fit() -> None:
    long, short = load_workload("burst"), load_workload("sharegpt")

    for workload in (
        Switched(long, short, at_s=1.0, rate=1.0),
        Switched(short, long, at_s=1.0, rate=1.0),
    ):
        with pytest.raises(Exception, match="131072"):
            workload.check_fits(40_000)
