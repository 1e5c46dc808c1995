import math
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from statistics import fmean, pstdev

import pytest

from simulator.content import segment_tokens
from simulator.errors import TooMuchTraffic, UnknownWorkload, WorkloadInvalid, WorkloadTooLong
from simulator.traffic import Chain, TrafficRequest
from simulator.workloads import Workload, load_workload, workload_names
from simulator.workloads.arrivals import Stage, poisson_times
from simulator.workloads.lengths import Lengths

GENERATED = [
    name
    for name in workload_names()
    if load_workload(name).spec.traffic.kind not in {"replay", "mixture"}  # the parts of which are
]
OPEN = [name for name in GENERATED if load_workload(name).loop == "open"]
CLOSED = [name for name in GENERATED if load_workload(name).loop == "closed"]

TINY = """
description = "d"
source = "s"
warmup_s = 1.0
measure_s = 2.0

[traffic]
kind = "shared_prefix"
groups = 2
users_per_group = 2
system_tokens = 100
question = { mean = 10 }
output = { mean = 20, max = 20 }
max_prompt_tokens = 200
"""


def _taken(chains: list[Chain], each: int) -> list[list[TrafficRequest]]:
    return [list(islice(chain, each)) for chain in chains]


def _flat(chains: list[Chain], each: int) -> list[TrafficRequest]:
    return [request for chain in chains for request in islice(chain, each)]


def _tiny(tmp_path: Path, text: str = TINY) -> Workload:
    path = tmp_path / "tiny.toml"
    path.write_text(text)
    return load_workload(path)


def _rate(workload: Workload) -> float:
    assert workload.rate is not None
    return workload.rate


@pytest.mark.parametrize("name", GENERATED)
def test_a_seed_fixes_every_request(name: str) -> None:
    workload = load_workload(name)

    first, again, other = (
        _taken(workload.chains(seed=seed, rate=_rate(workload), until_s=20.0), 3)
        for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other


@pytest.mark.parametrize("name", GENERATED)
def test_requests_are_within_what_the_file_states(name: str) -> None:
    workload = load_workload(name)
    spec = workload.spec.traffic

    requests = _flat(workload.chains(seed=1, rate=_rate(workload), until_s=60.0), 30)

    workload.check_fits(spec.most_tokens)
    assert requests
    for request in requests:
        assert request.prompt_tokens == segment_tokens(request.segments)
        assert 1 <= request.prompt_tokens <= spec.max_prompt_tokens
        assert 1 <= request.output_tokens <= spec.output.max
        assert request.prompt_tokens + request.output_tokens <= spec.most_tokens


@pytest.mark.parametrize("name", OPEN)
def test_an_open_loop_has_the_rate_asked_for(name: str) -> None:
    workload = load_workload(name)
    stages = getattr(workload.spec.traffic, "stages", ())
    until_s = 4 * (sum(stage.seconds for stage in stages) or 120.0)  # whole rounds, by halves

    chains = _taken(workload.chains(seed=1, rate=20.0, until_s=until_s), 10_000)

    times = [request.at_s for chain in chains for request in chain]
    assert len(times) == pytest.approx(20.0 * until_s, rel=0.05)
    assert all(at_s is not None and 0.0 <= at_s < until_s for at_s in times)
    early = sum(at_s is not None and at_s < until_s / 2 for at_s in times)
    assert early == pytest.approx(len(times) / 2, rel=0.05)


@pytest.mark.parametrize("name", OPEN)
def test_requests_of_a_chain_are_in_order_of_time(name: str) -> None:
    chains = _taken(load_workload(name).chains(seed=1, rate=20.0, until_s=100.0), 10_000)

    for chain in chains:
        times = [request.at_s or 0.0 for request in chain]
        assert times == sorted(times)


@pytest.mark.parametrize("name", CLOSED)
def test_a_closed_loop_has_a_time_for_the_first_request_of_each_user_only(name: str) -> None:
    chains = _taken(load_workload(name).chains(seed=1, rate=12.4, until_s=100.0), 40)

    assert len(chains) == 12
    for chain in chains:
        assert len(chain) == 40  # without end
        assert chain[0].at_s is not None
        assert all(request.at_s is None for request in chain[1:])
        assert chain[0].think_s == 0.0


@pytest.mark.parametrize("name", ["post-c", "burst", "codegen", "sharegpt-chat"])
def test_the_next_turn_repeats_the_prompt_and_the_answer_before_it(name: str) -> None:
    workload = load_workload(name)

    chains = _taken(workload.chains(seed=1, rate=_rate(workload), until_s=300.0), 8)

    followed = 0
    for chain in chains:
        for request, following in pairwise(chain):
            if request.session_id != following.session_id:
                continue
            followed += 1
            told = (*request.segments, (request.answer_id, request.output_tokens))
            assert following.segments[:-1] == told
    assert followed > 20


@pytest.mark.parametrize("name", GENERATED)
def test_content_is_shared_by_nothing_but_what_the_workload_shares(name: str) -> None:
    """Every content id but the systems' stays within one conversation or one user."""
    workload = load_workload(name)
    spec = workload.spec.traffic

    chains = _taken(workload.chains(seed=3, rate=_rate(workload), until_s=60.0), 20)

    owners: dict[int, set[str]] = {}
    for number, chain in enumerate(chains):
        for request in chain:
            owner = request.session_id if spec.kind == "shared_prefix" else str(number)
            for content_id, _ in request.segments:
                owners.setdefault(content_id, set()).add(owner)
            owners.setdefault(request.answer_id, set()).add(owner)
    shared = sum(len(names) > 1 for names in owners.values())
    assert shared <= getattr(spec, "groups", 1)


def test_answers_of_the_same_prompt_are_different() -> None:
    chains = load_workload("b2b-saas").chains(seed=1, rate=20.0, until_s=120.0)

    requests = [request for chain in chains for request in chain]

    prompts = Counter(request.segments for request in requests)
    assert len(prompts) == 750
    assert max(prompts.values()) - min(prompts.values()) <= 1  # round robin
    assert len({request.answer_id for request in requests}) == len(requests)


def test_a_conversation_that_would_be_too_long_begins_anew(tmp_path: Path) -> None:
    chains = _taken(_tiny(tmp_path).chains(seed=1, rate=40.0, until_s=10.0), 1000)

    prompts = [request.prompt_tokens for request in chains[0]]

    assert prompts[:8] == [110, 140, 170, 200, 110, 140, 170, 200]
    assert [request.session_id[-1] for request in chains[0][:8]] == list("00001111")


def test_users_of_a_limited_conversation_begin_within_it(tmp_path: Path) -> None:
    workload = _tiny(tmp_path, TINY + "max_turns = 3\n")

    chains = workload.chains(seed=1, rate=40.0, until_s=10.0)

    first = {next(chain).prompt_tokens for chain in chains}
    assert len(first) > 1
    assert first <= {110, 140, 170}


def test_most_of_the_prompt_tokens_of_the_burst_repeat_what_was_there() -> None:
    workload = load_workload("burst")

    requests = _flat(workload.chains(seed=1, rate=8.0, until_s=600.0), 1000)

    asked = sum(request.segments[-1][1] for request in requests)
    assert 1 - asked / sum(r.prompt_tokens for r in requests) == pytest.approx(0.94, abs=0.015)


def test_stages_change_the_rate_and_keep_its_mean() -> None:
    stages = [Stage(seconds=50, weight=1.0), Stage(seconds=50, weight=5.0)]

    times = poisson_times(Random(1), 30.0, 1000.0, stages)

    quiet = sum(time % 100.0 < 50.0 for time in times)
    assert len(times) == pytest.approx(30_000, rel=0.03)
    assert quiet == pytest.approx(5_000, rel=0.05)


@pytest.mark.parametrize(
    "lengths",
    [
        Lengths(shape="lognormal", mean=729, sd=13550, max=131072),
        Lengths(shape="lognormal", mean=55000, sd=25000, min=15000, max=100000),
        Lengths(shape="lognormal", mean=6, sd=5, min=2, max=20),
        Lengths(shape="normal", mean=1000, sd=300, max=4000),
    ],
)
def test_draws_have_the_mean_stated_and_stay_within_bounds(lengths: Lengths) -> None:
    rng = Random(5)

    draws = [lengths.draw(rng) for _ in range(200_000)]

    assert fmean(draws) == pytest.approx(lengths.mean, rel=0.03)
    assert lengths.min <= min(draws) <= max(draws) <= lengths.max


def test_a_normal_has_the_spread_stated_and_no_spread_is_a_constant() -> None:
    rng = Random(5)

    draws = [Lengths(mean=1000, sd=50).draw(rng) for _ in range(20_000)]

    assert pstdev(draws) == pytest.approx(50, rel=0.05)
    assert {Lengths(mean=1000).draw(rng) for _ in range(20)} == {1000}


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UnknownWorkload, match="known are: agentic, azure"):
        load_workload("chat")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("groups = 2", "groups = 0", "traffic.shared_prefix.groups: .*greater than or equal to 1"),
        ("groups = 2", "gruops = 2", "gruops: Extra inputs"),
        ("users_per_group = 2", "users_per_group = 900000", "users_per_group is above 1000000"),
        ("groups = 2\n", "", "groups: Field required"),
        ('"shared_prefix"', '"prefix"', "'shared_prefix', 'conversations'"),
        ("mean = 10 }", "mean = 10, min = 20 }", "mean 10 is not within 20 and"),
        ("system_tokens = 100", "system_tokens = 200", "no room for a question"),
        ("warmup_s = 1.0", "warmup_s = -1.0", "warmup_s: .*greater than or equal to 0"),
        ("measure_s = 2.0", "measure_s = inf", "measure_s: .*finite"),
        ("[traffic]", "[traffic", "line 7"),
    ],
)
def test_a_bad_file_is_refused_by_file_key_and_limit(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in TINY

    with pytest.raises(WorkloadInvalid, match=problem) as refused:
        _tiny(tmp_path, TINY.replace(old, new))

    assert refused.value.path == str(tmp_path / "tiny.toml")


@pytest.mark.parametrize("rate", [1e9, math.inf])
@pytest.mark.parametrize("name", [*OPEN, *CLOSED])
def test_a_rate_beyond_what_a_run_can_hold_is_refused_at_once(name: str, rate: float) -> None:
    with pytest.raises(TooMuchTraffic, match=r"the limit is [12]0?0?,000"):
        load_workload(name).chains(seed=1, rate=rate, until_s=100.0)


def test_a_missing_or_unreadable_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")

    for path in (tmp_path / "absent.toml", tmp_path / "binary.toml", tmp_path):
        with pytest.raises((WorkloadInvalid, UnknownWorkload), match=path.name):
            load_workload(path)


def test_a_workload_longer_than_the_fleet_holds_names_the_limit(tmp_path: Path) -> None:
    workload = _tiny(tmp_path)
    workload.check_fits(220)

    with pytest.raises(WorkloadTooLong, match=r"tiny\.toml: 220 tokens .*limit of 219"):
        workload.check_fits(219)


def test_no_capacity_is_made_up(tmp_path: Path) -> None:
    assert _tiny(tmp_path).capacity("ten-qwen3-32b-h100") is None
