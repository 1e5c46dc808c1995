import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.content import block_hashes
from simulator.errors import WorkloadInvalid
from simulator.workloads import Trace, TraceKind, canonical_bytes, load_workload, read_trace
from simulator.workloads.block_ids import to_runs, to_segments

HEADER = '{"format":"foretoken-trace","version":1,"loop":"open"}'
LINE = '{"session_id":"a","segments":[[1,20]],"output_tokens":5,"answer_id":-1,"at_s":1.0}'

MOONCAKE = [
    {"timestamp": 3000, "input_length": 700, "output_length": 0, "hash_ids": [0, 7]},
    {"timestamp": 0, "input_length": 1024, "output_length": 50, "hash_ids": [0, 1]},
]
SESSION = {
    "id": "s1",
    "block_size": 64,
    "tool_tokens": 100,
    "system_tokens": 50,
    "requests": [
        {"in": 330, "out": 10, "think_time": 0.0, "model": "m", "hash_rle": [[1, 5]]},
        {"in": 390, "out": 20, "think_time": 4.0, "model": "m", "hash_rle": [[1, 6]]},
        {
            "type": "subagent",
            "tool_tokens": 8,
            "system_tokens": 8,
            "requests": [{"in": 70, "out": 3, "think_time": 1.0, "hash_rle": [[900, 1]]}],
        },
        {"in": 200, "out": 7, "think_time": 2.5, "model": "m", "hash_rle": [[400, 3]]},
    ],
}


def _jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _shared(trace: Trace, one: int, other: int) -> int:
    """Count the leading tokens two prompts share."""
    keys = [block_hashes(trace.requests[index].segments, 1) for index in (one, other)]
    return sum(a == b for a, b in zip(*keys, strict=False))


def test_mooncake_is_open_in_order_of_time_and_shares_whole_blocks(tmp_path: Path) -> None:
    trace = read_trace("mooncake", _jsonl(tmp_path / "t.jsonl", *MOONCAKE))

    first, second = trace.requests
    assert (trace.loop, trace.resolution_s, trace.lines) == ("open", 3.0, (2, 1))
    assert (first.at_s, first.prompt_tokens, first.output_tokens) == (0.0, 1024, 50)
    assert (second.at_s, second.prompt_tokens, second.output_tokens) == (3.0, 700, 1)
    assert _shared(trace, 0, 1) == 512


def test_azure_is_open_and_shares_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        "2023-11-16 18:15:46.6805900,374,44\r\n"
        "2023-11-16 18:15:50.9951690,374,109\r\n"
    )

    trace = read_trace("azure", path)

    first, second = trace.requests
    assert (first.at_s or 0.0) + 4.314579 == pytest.approx(second.at_s)
    assert (second.prompt_tokens, second.output_tokens, trace.lines) == (374, 109, (2, 3))
    assert _shared(trace, 0, 1) == 0


def test_agentic_sessions_are_closed_and_a_sub_agent_comes_where_it_was_called(
    tmp_path: Path,
) -> None:
    trace = read_trace("agentic", _jsonl(tmp_path / "t.jsonl", SESSION))

    assert trace.loop == "closed"
    assert [request.prompt_tokens for request in trace.requests] == [330, 390, 70, 200]
    assert [request.think_s for request in trace.requests] == [0.0, 4.0, 1.0, 2.5]
    assert all(request.at_s is None for request in trace.requests)
    assert _shared(trace, 0, 1) == 320  # the tail of ten tokens is not in a block
    assert _shared(trace, 0, 3) == 0


def test_agents_of_one_kind_share_tools_and_system_across_sessions(tmp_path: Path) -> None:
    other = {**SESSION, "id": "s2"}
    larger = {**SESSION, "id": "s3", "system_tokens": 51}

    trace = read_trace("agentic", _jsonl(tmp_path / "t.jsonl", SESSION, other, larger))

    assert _shared(trace, 0, 4) == 150
    assert _shared(trace, 1, 5) == 150
    assert _shared(trace, 3, 7) == 0  # not the agent's own thread
    assert _shared(trace, 0, 8) == 0


def test_lmcache_agents_think_for_the_gap_less_a_nominal_answer(tmp_path: Path) -> None:
    rows = [
        {"session": s, "timestamp": at, "input_length": 128, "output_length": 100, "hash_ids": ids}
        for s, at, ids in [
            ("a", 5e6, [0, 1]),
            ("b", 5e6, [0, 2]),
            ("a", 9e6, [0, 1]),
            ("a", 1e6, [3, 4]),
        ]
    ]

    trace = read_trace("lmcache", _jsonl(tmp_path / "t.jsonl", *rows))

    assert trace.loop == "closed"
    assert [request.session_id for request in trace.requests] == ["a", "a", "a", "b"]
    assert [request.think_s for request in trace.requests] == pytest.approx([0.0, 3.0, 3.0, 0.0])
    assert trace.lines == (4, 1, 3, 2)
    assert _shared(trace, 1, 3) == 64


def test_a_plain_table_may_share_prefixes_and_leave_cells_empty(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "at_s,prompt_tokens,output_tokens,prefix_id,prefix_tokens,tier,priority\n"
        "2.5,100,10,p,60,gold,-1\n"
        "1.5,100,10,p,80,,\n"
    )

    trace = read_trace("csv", path)

    assert trace.loop == "open"
    assert [request.at_s for request in trace.requests] == [1.5, 2.5]
    assert (trace.requests[1].tier, trace.requests[1].priority) == ("gold", -1)
    assert _shared(trace, 0, 1) == 60


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", "at_s,prompt_tokens,output_tokens\r\n1,5,6\r\n"),
        ("jsonl", '{"at_s":1,"prompt_tokens":5,"output_tokens":6}\r\n'),
    ],
)
def test_a_byte_order_mark_and_line_ends_of_windows_are_left_out(
    tmp_path: Path, kind: TraceKind, text: str
) -> None:
    path = tmp_path / "t.txt"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())

    (request,) = read_trace(kind, path).requests

    assert (request.at_s, request.prompt_tokens, request.output_tokens) == (1.0, 5, 6)


def test_plain_lines_may_name_blocks_and_without_times_are_a_closed_loop(tmp_path: Path) -> None:
    rows = [
        {
            "session_id": "a",
            "prompt_tokens": 40,
            "output_tokens": 1,
            "hash_ids": [5, 6],
            "think_s": 2.0,
        },
        {"session_id": "a", "prompt_tokens": 40, "output_tokens": 1, "hash_ids": [5, 9]},
    ]

    trace = read_trace("jsonl", _jsonl(tmp_path / "t.jsonl", *rows))

    assert trace.loop == "closed"
    assert trace.requests[0].think_s == 2.0
    assert _shared(trace, 0, 1) == 16


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
@pytest.mark.parametrize(("kind", "row"), [("mooncake", MOONCAKE[0]), ("agentic", SESSION)])
def test_the_canonical_form_gives_back_what_was_written(
    tmp_path: Path, name: str, kind: TraceKind, row: object
) -> None:
    trace = read_trace(kind, _jsonl(tmp_path / "source.jsonl", row))

    (tmp_path / name).write_bytes(canonical_bytes(trace, packed=name.endswith(".gz")))
    again = read_trace("canonical", tmp_path / name)

    assert again.requests == trace.requests
    assert (again.loop, again.resolution_s) == (trace.loop, trace.resolution_s)


def test_a_trace_in_canonical_form_is_a_workload_by_itself(tmp_path: Path) -> None:
    trace = read_trace("mooncake", _jsonl(tmp_path / "source.jsonl", *MOONCAKE))
    path = tmp_path / "mine.trace.jsonl.gz"
    path.write_bytes(canonical_bytes(trace, packed=True))

    workload = load_workload(path)

    (first, *_) = workload.chains(seed=1, rate=1.0, until_s=100.0)
    assert (workload.name, workload.loop) == ("mine", "open")
    assert next(first).prompt_tokens in {700, 1024}


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    trace = read_trace("mooncake", _jsonl(tmp_path / "source.jsonl", *MOONCAKE))

    for name in ("one.gz", "two.gz"):
        (tmp_path / name).write_bytes(canonical_bytes(trace, packed=name.endswith(".gz")))

    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "two.gz").read_bytes()


@pytest.mark.parametrize(
    ("kind", "text", "line", "problem"),
    [
        ("mooncake", '{"timestamp": 0,\n', 1, "truncated"),
        ("mooncake", "[1]\n", 1, "Expected `object`"),
        ("mooncake", json.dumps(MOONCAKE[0]) + '\n\n{"timestamp": 1}\n', 3, "input_length"),
        ("mooncake", json.dumps({**MOONCAKE[0], "input_length": 0}), 1, ">= 1 - at `\\$.input"),
        ("mooncake", json.dumps({**MOONCAKE[0], "input_length": 10**9}), 1, "<= 10000000"),
        ("mooncake", json.dumps({**MOONCAKE[0], "output_length": -5}), 1, ">= 0"),
        ("mooncake", json.dumps({**MOONCAKE[0], "timestamp": -1}), 1, ">= 0.0"),
        ("mooncake", "", None, "holds no line"),
        ("mooncake", "\n \n", None, "holds no line"),
        ("azure", "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,5\n", 2, "GeneratedTokens"),
        ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens\nnoon,5,6\n", 2, "TIMESTAMP"),
        ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,5\n", 2, "2 cells"),
        ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens\n", None, "holds no request"),
        ("csv", "at_s,prompt_tokens,output_tokens\nnan,5,6\n", 2, ">= 0.0"),
        ("csv", "at_s,prompt_tokens,output_tokens\n1,5.5,6\n", 2, "Expected `int`"),
        ("csv", "at_s,prompt_tokens,at_s\n1,5,6\n", 1, "names a column twice"),
        ("azure", "TIMESTAMP,ContextTokens,GeneratedTokens\n0001-01-01,5,6\n", 2, "before 1970"),
        ("csv", "at,prompt_tokens,output_tokens\n1,5,6\n", 2, "unknown field `at`"),
        ("csv", "at_s,prompt_tokens,output_tokens\n1,5,6\n,5,6\n", 3, "some have not"),
        ("csv", "prompt_tokens,output_tokens,prefix_tokens\n5,6,7\n", 2, "exceed prompt_tokens 5"),
        ("agentic", json.dumps({**SESSION, "block_size": 0}), 1, ">= 1 - at `\\$.block_size"),
        ("canonical", LINE, 1, "no header"),
        ("canonical", HEADER.replace(":1", ":2"), 1, "version 2, not foretoken-trace version 1"),
        ("canonical", HEADER, None, "holds no request"),
        ("canonical", f"{HEADER}\n{LINE.replace('20', '0')}", 2, ">= 1"),
        ("canonical", f"{HEADER}\n{LINE.replace('[[1,20]]', '[]')}", 2, "length >= 1"),
        ("canonical", f"{HEADER}\n{LINE.replace('1.0', 'null')}", 2, "lacks at_s"),
        ("canonical", f"{HEADER.replace('open', 'closed')}\n{LINE}", 2, "has at_s"),
    ],
)
def test_bad_traces_are_refused_by_file_line_and_limit(
    tmp_path: Path, kind: TraceKind, text: str, line: int | None, problem: str
) -> None:
    path = tmp_path / "bad.txt"
    path.write_text(text)

    with pytest.raises(WorkloadInvalid, match=problem) as refused:
        read_trace(kind, path)

    assert (refused.value.path, refused.value.line) == (str(path), line)


def test_a_truncated_or_foreign_gzip_is_refused(tmp_path: Path) -> None:
    lines = (json.dumps({**MOONCAKE[0], "timestamp": n * n % 9973}) for n in range(2000))
    whole = gzip.compress("\n".join(lines).encode())
    path = tmp_path / "t.jsonl.gz"

    for content, problem in [
        (whole[: len(whole) // 2], "gzip ends too early"),
        (whole[:-4], "gzip ends too early"),
        (whole[:20] + bytes(1000) + whole[1020:], "no sound gzip"),
    ]:
        path.write_bytes(content)
        with pytest.raises(WorkloadInvalid, match=problem):
            read_trace("mooncake", path)


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(WorkloadInvalid, match=path.name):
            read_trace("mooncake", path)


@pytest.mark.parametrize("kind", ["canonical", "mooncake", "azure", "agentic", "lmcache", "csv"])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_trace_or_are_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: TraceKind, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any-{kind}"
    path.write_bytes(content)

    outcome = _read_or_refuse(kind, path)

    if isinstance(outcome, Trace):
        assert outcome.requests
    else:
        assert outcome.path == str(path)


def _read_or_refuse(kind: TraceKind, path: Path) -> Trace | WorkloadInvalid:
    try:
        return read_trace(kind, path)
    except WorkloadInvalid as refused:
        return refused


@given(st.lists(st.integers(0, 6), max_size=12), st.lists(st.integers(0, 6), max_size=12))
def test_runs_share_exactly_the_leading_blocks(one: list[int], other: list[int]) -> None:
    shared = 0
    while shared < min(len(one), len(other)) and one[shared] == other[shared]:
        shared += 1

    keys, others = (
        block_hashes(to_segments(to_runs(ids), 16, 16 * len(ids), tail_id=-1), 16)
        for ids in (one, other)
    )

    assert keys[:shared] == others[:shared]
    assert not set(keys[shared:]) & set(others[shared:])
