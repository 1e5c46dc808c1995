import json
from itertools import islice
from pathlib import Path

import pytest

from simulator.content import block_hashes
from simulator.errors import WorkloadInvalid, WorkloadTooLong
from simulator.traffic import TrafficRequest
from simulator.workloads import Workload, load_workload, workload_names

WORKLOAD = """
description = "d"
source = "s"
warmup_s = 1.0
measure_s = 2.0

[traffic]
kind = "replay"
format = "{kind}"
trace = "trace.jsonl"
"""


def _workload(folder: Path, kind: str, rows: list[dict[str, object]], more: str = "") -> Workload:
    (folder / "trace.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "replayed.toml").write_text(WORKLOAD.format(kind=kind) + more)
    return load_workload(folder / "replayed.toml")


def _open(folder: Path, more: str = "") -> Workload:
    rows: list[dict[str, object]] = [
        {"at_s": 100.0 + 2.0 * n, "prompt_tokens": 32, "output_tokens": 4, "hash_ids": [0, n]}
        for n in range(10)
    ]
    return _workload(folder, "jsonl", rows, more)


def _closed(folder: Path, more: str = "") -> Workload:
    rows: list[dict[str, object]] = [
        {
            "session_id": f"s{n}",
            "prompt_tokens": 32 * turn,
            "output_tokens": 4,
            "hash_ids": [10 * n],
            "think_s": 5.0 * turn,
        }
        for n in range(3)
        for turn in (1, 2)
    ]
    return _workload(folder, "jsonl", rows, more)


def _sent(workload: Workload, *, seed: int, rate: float, until_s: float) -> list[TrafficRequest]:
    chains = workload.chains(seed=seed, rate=rate, until_s=until_s)
    return [request for chain in chains for request in chain]


def test_times_are_stretched_to_the_rate(tmp_path: Path) -> None:
    workload = _open(tmp_path)

    requests = _sent(workload, seed=1, rate=1.0, until_s=10.0)

    assert workload.rate == pytest.approx(0.5)
    assert [request.at_s for request in requests] == pytest.approx([float(n) for n in range(10)])


def test_an_exhausted_trace_begins_again_with_fresh_content(tmp_path: Path) -> None:
    requests = _sent(_open(tmp_path), seed=1, rate=1.0, until_s=25.0)

    keys = [set(block_hashes(request.segments, 16)) for request in requests]
    assert [request.at_s for request in requests] == pytest.approx([float(n) for n in range(25)])
    assert len(set.intersection(*keys[:10])) == len(set.intersection(*keys[10:20])) == 1
    assert not set.union(*keys[:10]) & set.union(*keys[10:20])
    assert len({request.session_id for request in requests}) == 25


def test_seeds_begin_at_different_places_where_asked_to(tmp_path: Path) -> None:
    workload = _open(tmp_path, "random_start = true\n")

    firsts = {_sent(workload, seed=seed, rate=1.0, until_s=5.0)[0].session_id for seed in range(9)}

    assert len(firsts) > 2
    for seed in range(9):
        requests = _sent(workload, seed=seed, rate=1.0, until_s=30.0)
        times = [request.at_s or 0.0 for request in requests]
        assert times == sorted(times)
        assert 0.0 <= times[0] < 1.0 + 1e-9
        assert len(requests) == pytest.approx(30, abs=1)


def test_requests_of_one_coarse_time_are_spread_by_the_seed(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"timestamp": 3000 * (n // 10), "input_length": 9, "output_length": 1, "hash_ids": []}
        for n in range(100)
    ]
    workload = _workload(tmp_path, "mooncake", rows)
    assert workload.rate is not None

    first, again, other = (
        [r.at_s for r in _sent(workload, seed=seed, rate=workload.rate, until_s=27.0)]
        for seed in (1, 1, 2)
    )

    assert first == again != other
    assert len(set(first)) == len(first) >= 85
    assert first == sorted(first, key=lambda at_s: at_s or 0.0)


def test_closed_sessions_go_on_for_ever_each_with_its_thinking(tmp_path: Path) -> None:
    workload = _closed(tmp_path, "max_think_s = 8.0\nramp_s = 10.0\n")

    chains = workload.chains(seed=1, rate=2.0, until_s=1.0)

    first, second = (list(islice(chain, 8)) for chain in chains)
    assert (first[0].at_s, second[0].at_s) == (0.0, 5.0)
    assert [request.at_s for request in first[1:]] == [None] * 7
    assert [request.think_s for request in first] == [0.0, 8.0, 5.0, 8.0, 5.0, 8.0, 5.0, 8.0]
    begun = [chain[place].session_id[:2] for place in (0, 2, 4) for chain in (first, second)]
    assert sorted(begun[:3]) == sorted(begun[3:]) == ["s0", "s1", "s2"]
    assert first[4].session_id != first[0].session_id  # the second time round


def test_a_session_ends_before_its_first_prompt_beyond_the_limit(tmp_path: Path) -> None:
    workload = _closed(tmp_path, "max_prompt_tokens = 40\n")

    requests = list(islice(workload.chains(seed=1, rate=1.0, until_s=1.0)[0], 6))

    assert [request.prompt_tokens for request in requests] == [32] * 6


def test_a_trace_beyond_the_fleets_limit_names_the_line(tmp_path: Path) -> None:
    workload = _closed(tmp_path)
    workload.check_fits(68)

    with pytest.raises(WorkloadTooLong, match=r"trace\.jsonl, line 6: 68 tokens .*limit of 67"):
        workload.check_fits(67)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("max_prompt_tokens = 5\n", "no request has a prompt within 5 tokens"),
        ("max_prompt_tokens = 0\n", "max_prompt_tokens: .*greater than or equal to 1"),
        ("shuffle = true\n", "shuffle: Extra inputs"),
    ],
)
def test_a_replay_of_nothing_or_of_unknown_keys_is_refused(
    tmp_path: Path, more: str, problem: str
) -> None:
    with pytest.raises(WorkloadInvalid, match=problem):
        _sent(_open(tmp_path, more), seed=1, rate=1.0, until_s=1.0)


def test_a_trace_without_a_span_of_time_gives_no_rate(tmp_path: Path) -> None:
    row: dict[str, object] = {"at_s": 1.0, "prompt_tokens": 3, "output_tokens": 4}

    with pytest.raises(WorkloadInvalid, match="all requests come within 0 s"):
        _sent(_workload(tmp_path, "jsonl", [row, row]), seed=1, rate=1.0, until_s=1.0)


def test_shipped_replays_say_which_trace_is_missing(tmp_path: Path) -> None:
    replays = [
        name for name in workload_names() if load_workload(name).spec.traffic.kind == "replay"
    ]

    assert set(replays) == {"agentic", "azure", "lmcache-agent", "mooncake"}
    for name in replays:
        with pytest.raises(WorkloadInvalid, match=r"traces/.*no such trace"):
            load_workload(name, tmp_path).chains(seed=1, rate=1.0, until_s=1.0)
