"""Parser of recorded coding-agent sessions: one session per line, a closed trace.

Decides what sessions share. Block ids are local to a session; prompts of one kind of
agent (same model, same sizes of tools and system prompt) are taken to begin with the
same tokens, so far as those sizes go. A sub-agent's requests come where it was called.

Source: kv-cache-tester traces, compacted: ``hash_rle`` is runs of block ids.
"""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated, Final

import msgspec

from simulator.content import Segment
from simulator.traffic import TrafficRequest
from simulator.workloads.block_ids import named_id, own_ids, to_segments
from simulator.workloads.trace import Trace, make_trace
from simulator.workloads.trace_lines import (
    BlockTokens,
    OutputTokens,
    PromptTokens,
    Seconds,
    read_json,
)

_Run = tuple[
    Annotated[int, msgspec.Meta(ge=0, lt=1 << 30)], Annotated[int, msgspec.Meta(ge=1, lt=1 << 20)]
]

_SESSION: Final = 1 << 31
"""Content ids of session ``n`` are from ``(n + 1) * _SESSION``, two for each block id."""


class _Entry(msgspec.Struct):
    """A request, or a sub-agent with requests of its own."""

    prompt_tokens: PromptTokens | None = msgspec.field(name="in", default=None)
    output_tokens: OutputTokens = msgspec.field(name="out", default=0)
    think_s: Seconds = msgspec.field(name="think_time", default=0.0)
    runs: list[_Run] = msgspec.field(name="hash_rle", default_factory=list)
    model: str | None = None
    requests: list["_Entry"] | None = None  # of a sub-agent
    tool_tokens: OutputTokens = 0
    system_tokens: OutputTokens = 0


class _Session(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(max_length=256)]
    block_size: BlockTokens
    tool_tokens: OutputTokens
    system_tokens: OutputTokens
    requests: list[_Entry]


def read_agentic(path: Path) -> Trace:
    """Read a file of sessions.

    Raises:
        WorkloadInvalid: It cannot be read, or a line does not parse or breaks a bound.
    """
    rows: list[tuple[int, TrafficRequest]] = []
    numbers = count()
    for index, (line, session) in enumerate(read_json(path, _Session)):
        agent = _Agent(session, index, session.requests, session)
        rows.extend((line, request) for request in agent.requests(numbers))
    return make_trace(path, "closed", rows)


class _Agent:
    """An agent, or a sub-agent of one, whose requests begin with its tools and system."""

    def __init__(
        self, session: _Session, index: int, entries: Sequence[_Entry], sizes: _Session | _Entry
    ) -> None:
        self._session = session
        self._index = index
        self._entries = entries
        self._tool_tokens = sizes.tool_tokens
        self._system_tokens = sizes.system_tokens
        first = next((entry for entry in entries if entry.runs), None)
        self._head = None if first is None else first.runs[0][0]
        self._model = None if first is None else first.model

    def requests(self, numbers: Iterator[int]) -> Iterator[TrafficRequest]:
        for entry in self._entries:
            if entry.requests is not None:
                inner = _Agent(self._session, self._index, entry.requests, entry)
                yield from inner.requests(numbers)
            elif entry.prompt_tokens is not None:
                yield self._request(entry, entry.prompt_tokens, next(numbers))

    def _request(self, entry: _Entry, prompt_tokens: int, number: int) -> TrafficRequest:
        tail_id, answer_id = own_ids(number)
        return TrafficRequest(
            session_id=self._session.id,
            segments=to_segments(self._content(entry.runs), 1, prompt_tokens, tail_id),
            prompt_tokens=prompt_tokens,
            output_tokens=max(1, entry.output_tokens),
            answer_id=answer_id,
            at_s=None,
            think_s=entry.think_s,
        )

    def _content(self, runs: Sequence[_Run]) -> list[Segment]:
        """Name the content of runs; the head of the agent's own thread is what agents share."""
        own = (self._index + 1) * _SESSION
        content = [(own + 2 * first, blocks * self._session.block_size) for first, blocks in runs]
        if not runs or runs[0][0] != self._head:
            return content
        head_id, left = content[0]
        tools = min(self._tool_tokens, left)
        system = min(self._system_tokens, left - tools)
        sizes = (self._model, self._tool_tokens, self._system_tokens)
        shared = [(named_id("tools", *sizes), tools), (named_id("system", *sizes), system)]
        return [*shared, (head_id + 1, left - tools - system), *content[1:]]
