"""Parsers of public trace formats, and of plain tables.

Decides what each format's fields mean to replay. Every parser raises ``WorkloadInvalid``
with file, line and limit. Called by replay and by ``foretoken traces import``.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from simulator.errors import WorkloadInvalid
from simulator.traffic import TrafficRequest
from simulator.workloads.agentic import read_agentic
from simulator.workloads.block_ids import named_id, own_ids, to_runs, to_segments
from simulator.workloads.trace import Trace, make_trace, read_canonical
from simulator.workloads.trace_lines import (
    BlockId,
    BlockTokens,
    OutputTokens,
    PromptTokens,
    Seconds,
    read_csv,
    read_json,
)

TraceKind = Literal["canonical", "mooncake", "azure", "agentic", "lmcache", "csv", "jsonl"]

_MOONCAKE_BLOCK_TOKENS: Final = 512
_MOONCAKE_RESOLUTION_S: Final = 3.0
_LMCACHE_BLOCK_TOKENS: Final = 64
_LMCACHE_TPOT_S: Final = 0.01
"""What the recording endpoint is taken to have needed per output token: the trace has
the times of requests only, and the median gap between them is 1.3 s for 111 tokens."""


def read_trace(kind: TraceKind, path: Path) -> Trace:
    """Read a trace file of a format.

    Raises:
        WorkloadInvalid: It cannot be read, or a line does not parse or breaks a bound.
    """
    return _READERS[kind](path)


class _Mooncake(msgspec.Struct):
    timestamp: Annotated[float, msgspec.Meta(ge=0.0, le=1e13)]  # ms
    input_length: PromptTokens
    output_length: OutputTokens
    hash_ids: list[BlockId]


def _read_mooncake(path: Path) -> Trace:
    """Read Mooncake's form: an open trace, prompts as ids of 512-token blocks.

    Its times are cut to 3 s. What a prompt shares with an earlier *answer* is in the
    ids too, but which answer it was is not recorded: it is not found in the cache.

    Source: Mooncake, FAST'25 trace release.
    """
    rows = []
    for number, (line, row) in enumerate(read_json(path, _Mooncake)):
        tail_id, answer_id = own_ids(number)
        runs = to_runs(row.hash_ids)
        request = TrafficRequest(
            session_id=f"request-{number}",
            segments=to_segments(runs, _MOONCAKE_BLOCK_TOKENS, row.input_length, tail_id),
            prompt_tokens=row.input_length,
            output_tokens=max(1, row.output_length),
            answer_id=answer_id,
            at_s=row.timestamp / 1e3,
        )
        rows.append((line, request))
    return make_trace(path, "open", rows, resolution_s=_MOONCAKE_RESOLUTION_S)


class _Azure(msgspec.Struct):
    at: str = msgspec.field(name="TIMESTAMP")
    prompt_tokens: PromptTokens = msgspec.field(name="ContextTokens")
    output_tokens: OutputTokens = msgspec.field(name="GeneratedTokens")


def _read_azure(path: Path) -> Trace:
    """Read Azure's form of 2023: an open trace of lengths; no prompt shares anything.

    Source: Azure Public Dataset, ``AzureLLMInferenceTrace``.
    """
    rows = []
    for number, (line, row) in enumerate(read_csv(path, _Azure)):
        try:
            # Seven digits of fractions: the last is beyond datetime's microseconds.
            at = datetime.fromisoformat(row.at[:26]).replace(tzinfo=UTC)
        except ValueError as error:
            raise WorkloadInvalid(str(path), f"TIMESTAMP: {error}", line=line) from error
        if at.timestamp() < 0:
            raise WorkloadInvalid(str(path), f"TIMESTAMP: {row.at} is before 1970", line=line)
        tail_id, answer_id = own_ids(number)
        request = TrafficRequest(
            session_id=f"request-{number}",
            segments=((tail_id, row.prompt_tokens),),
            prompt_tokens=row.prompt_tokens,
            output_tokens=max(1, row.output_tokens),
            answer_id=answer_id,
            at_s=at.timestamp(),
        )
        rows.append((line, request))
    return make_trace(path, "open", rows)


class _Lmcache(msgspec.Struct):
    session: Annotated[str, msgspec.Meta(max_length=256)]
    timestamp: Annotated[float, msgspec.Meta(ge=0.0, le=1e16)]  # us
    input_length: PromptTokens
    output_length: OutputTokens
    hash_ids: list[BlockId]
    src: str | None = None


def _read_lmcache(path: Path) -> Trace:
    """Read LMCache's agent trace, compacted: a closed trace of sessions, 64-token blocks.

    An agent thinks for what lies between two of its requests less a nominal answer time.

    Source: LMCache agent trace.
    """
    sessions: dict[str, list[tuple[float, int, _Lmcache]]] = {}
    for line, row in read_json(path, _Lmcache):
        sessions.setdefault(row.session, []).append((row.timestamp / 1e6, line, row))
    rows: list[tuple[int, TrafficRequest]] = []
    for session in sessions.values():
        session.sort(key=lambda entry: entry[:2])
        free_s = session[0][0]
        for at_s, line, row in session:
            tail_id, answer_id = own_ids(len(rows))
            runs = to_runs(row.hash_ids)
            request = TrafficRequest(
                session_id=row.session,
                segments=to_segments(runs, _LMCACHE_BLOCK_TOKENS, row.input_length, tail_id),
                prompt_tokens=row.input_length,
                output_tokens=max(1, row.output_length),
                answer_id=answer_id,
                at_s=None,
                think_s=max(0.0, at_s - free_s),
                tenant=row.src,
            )
            rows.append((line, request))
            free_s = at_s + _LMCACHE_TPOT_S * request.output_tokens
    return make_trace(path, "closed", rows)


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    """A row of a plain table: ``at_s`` on all rows is an open trace, on none a closed one."""

    prompt_tokens: PromptTokens
    output_tokens: OutputTokens
    at_s: Seconds | None = None
    think_s: Seconds = 0.0
    session_id: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    prefix_id: str | None = None
    """Requests of one prefix id begin with the same tokens, as far as the shorter goes."""
    prefix_tokens: OutputTokens = 0
    priority: Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)] = 0
    tier: Annotated[str, msgspec.Meta(max_length=256)] | None = None
    max_tokens: PromptTokens | None = None
    tenant: Annotated[str, msgspec.Meta(max_length=256)] | None = None


class _PlainBlocks(_Plain):
    """A line of a plain JSONL trace, which may name its prompt's blocks as well."""

    hash_ids: list[BlockId] = []
    block_tokens: BlockTokens = 16


def _read_plain_csv(path: Path) -> Trace:
    return _plain(path, ((line, row, ()) for line, row in read_csv(path, _Plain)))


def _read_plain_jsonl(path: Path) -> Trace:
    rows = read_json(path, _PlainBlocks)
    blocks = ((line, row, _blocks(row)) for line, row in rows)
    return _plain(path, blocks)


def _blocks(row: _PlainBlocks) -> tuple[tuple[int, int], ...]:
    return tuple((first, blocks * row.block_tokens) for first, blocks in to_runs(row.hash_ids))


def _plain(path: Path, lines: Iterator[tuple[int, _Plain, tuple[tuple[int, int], ...]]]) -> Trace:
    rows: list[tuple[int, TrafficRequest]] = []
    for line, row, blocks in lines:
        number = len(rows)
        if row.prefix_tokens > row.prompt_tokens:
            problem = f"prefix_tokens {row.prefix_tokens} exceed prompt_tokens {row.prompt_tokens}"
            raise WorkloadInvalid(str(path), problem, line=line)
        timed = row.at_s is not None
        if rows and timed != (rows[0][1].at_s is not None):
            problem = "some requests have at_s and some have not"
            raise WorkloadInvalid(str(path), problem, line=line)
        known = blocks
        if row.prefix_id is not None:
            known = ((named_id("prefix", row.prefix_id), row.prefix_tokens), *blocks)
        tail_id, answer_id = own_ids(number)
        request = TrafficRequest(
            session_id=row.session_id or f"request-{number}",
            segments=to_segments(known, 1, row.prompt_tokens, tail_id),
            prompt_tokens=row.prompt_tokens,
            output_tokens=max(1, row.output_tokens),
            answer_id=answer_id,
            at_s=row.at_s,
            think_s=row.think_s,
            priority=row.priority,
            tier=row.tier,
            max_tokens=row.max_tokens,
            tenant=row.tenant,
        )
        rows.append((line, request))
    return make_trace(path, "open" if rows and rows[0][1].at_s is not None else "closed", rows)


_READERS: Final[Mapping[TraceKind, Callable[[Path], Trace]]] = {
    "canonical": read_canonical,
    "mooncake": _read_mooncake,
    "azure": _read_azure,
    "agentic": read_agentic,
    "lmcache": _read_lmcache,
    "csv": _read_plain_csv,
    "jsonl": _read_plain_jsonl,
}
