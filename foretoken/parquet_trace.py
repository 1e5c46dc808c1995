"""Our own recorded traces as traffic: from Parquet to the simulator's form.

Decides which requests can be sent again (those that were answered, for only they have
an output length) and what their prompts share: a block hash names the tokens of its
block, of which there are as many as the whole trace has per block on average.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from collectors.trace_reader import TraceProblem, read_traces
from collectors.trace_row import TraceRow
from foretoken.errors import ForetokenError
from foretoken.trace_absence import absence
from simulator.traffic import TrafficRequest
from simulator.workloads import Trace, make_trace
from simulator.workloads.block_ids import own_ids, to_segments
from simulator.workloads.lengths import MOST_TOKENS

_INT64: Final = 1 << 63


def read_parquet(path: Path) -> Trace:
    """Read a trace file, or a folder of them, as an open trace that begins at 0 s.

    Raises:
        ForetokenError: A file is not a trace of ours, or broken, or there is none.
        WorkloadInvalid: None of its requests was answered.
    """
    if path.exists() and (nothing := absence([path])) is not None:
        raise ForetokenError(nothing)
    rows = [row for row in read_traces([path], on_problem=_refuse) if _is_answered(row)]
    tokens_per_byte = _tokens_per_byte(rows)
    begin_s = rows[0].request.arrived_s if rows else 0.0
    return make_trace(
        path,
        "open",
        [
            (number + 1, _request(number, row, begin_s, tokens_per_byte))
            for number, row in enumerate(rows)
        ],
    )


def _refuse(problem: TraceProblem) -> None:
    raise ForetokenError(f"{problem.path}: {problem.reason}")


def _is_answered(row: TraceRow) -> bool:
    prompt, output = row.measurement.prompt_tokens, row.measurement.output_tokens
    return (
        row.measurement.outcome == "completed"
        and prompt is not None
        and output is not None
        and 1 <= prompt <= MOST_TOKENS
        and 1 <= output <= MOST_TOKENS
    )


def _tokens_per_byte(rows: Iterable[TraceRow]) -> float:
    sizes = [
        (row.measurement.prompt_tokens or 0, row.request.prompt_bytes)
        for row in rows
        if row.request.prompt_bytes
    ]
    size_bytes = sum(size for _, size in sizes)
    return sum(tokens for tokens, _ in sizes) / size_bytes if size_bytes else 0.0


def _request(number: int, row: TraceRow, begin_s: float, tokens_per_byte: float) -> TrafficRequest:
    request = row.request
    prompt_tokens = row.measurement.prompt_tokens or 1
    tail_id, answer_id = own_ids(number)
    block_tokens = round((request.block_bytes or 0) * tokens_per_byte)
    blocks = [(_signed(block), 1) for block in request.block_hashes] if block_tokens else []
    asked = request.max_tokens
    return TrafficRequest(
        session_id=request.session_id or f"request-{number}",
        segments=to_segments(blocks, block_tokens, prompt_tokens, tail_id),
        prompt_tokens=prompt_tokens,
        output_tokens=row.measurement.output_tokens or 1,
        answer_id=answer_id,
        at_s=max(0.0, request.arrived_s - begin_s),
        priority=-(request.priority or 0),  # ours grows with urgency, vLLM's falls
        tier=request.tier,
        max_tokens=asked if asked is not None and 1 <= asked <= MOST_TOKENS else None,
        tenant=request.tenant,
    )


def _signed(block: int) -> int:
    return block - 2 * _INT64 if block >= _INT64 else block
