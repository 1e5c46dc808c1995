"""A recorded trace in memory, and the one form of file all foreign formats become.

The canonical form is JSON Lines, gzipped where the name ends in ``.gz``: a header with
the format's name and version, then one request per line in the fields of
:class:`~simulator.traffic.TrafficRequest`. An open trace gives every request its time;
a closed one lists the requests of a session one after the other, and only thinking
separates them. Called by replay and by ``foretoken traces import``.
"""

import gzip
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from simulator.content import Segment, segment_tokens
from simulator.errors import WorkloadInvalid
from simulator.traffic import TrafficRequest
from simulator.workloads.lengths import MOST_TOKENS
from simulator.workloads.trace_lines import PromptTokens, Seconds, read_lines

Loop = Literal["open", "closed"]

FORMAT: Final = "foretoken-trace"
VERSION: Final = 1

_INT64: Final = 1 << 63
_ContentId = Annotated[int, msgspec.Meta(ge=-_INT64, le=_INT64 - 1)]
_Text = Annotated[str, msgspec.Meta(max_length=256)]
_Priority = Annotated[int, msgspec.Meta(ge=-1_000_000, le=1_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Hold a recorded trace.

    Attributes:
        path: The file it was read from.
        loop: ``open`` if every request has its time, ``closed`` if none has.
        resolution_s: Times are cut to multiples of it; replay spreads requests over it.
        requests: In order of time, or session after session.
        lines: Line of each request in the file.
    """

    path: str
    loop: Loop
    resolution_s: float
    requests: tuple[TrafficRequest, ...]
    lines: tuple[int, ...]


class _Header(msgspec.Struct, forbid_unknown_fields=True):
    format: str
    version: int
    loop: Loop
    resolution_s: Seconds = 0.0


class _Line(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    session_id: _Text
    segments: Annotated[list[tuple[_ContentId, PromptTokens]], msgspec.Meta(min_length=1)]
    output_tokens: PromptTokens
    answer_id: _ContentId
    at_s: Seconds | None = None
    think_s: Seconds = 0.0
    priority: _Priority = 0
    tier: _Text | None = None
    max_tokens: PromptTokens | None = None
    tenant: _Text | None = None


def make_trace(
    path: Path,
    loop: Loop,
    rows: Sequence[tuple[int, TrafficRequest]],
    *,
    resolution_s: float = 0.0,
) -> Trace:
    """Put the requests of a file, with their lines, in the order a trace wants.

    Raises:
        WorkloadInvalid: There is none, or one of an open trace lacks its time.
    """
    if not rows:
        raise WorkloadInvalid(str(path), "holds no request")
    if loop == "open":
        timed = [(_time(path, line, request), line, request) for line, request in rows]
        timed.sort(key=lambda entry: entry[:2])
        rows = [(line, request) for _, line, request in timed]
    else:
        sessions: dict[str, list[tuple[int, TrafficRequest]]] = {}
        for row in rows:
            sessions.setdefault(row[1].session_id, []).append(row)
        rows = [row for session in sessions.values() for row in session]
    return Trace(
        path=str(path),
        loop=loop,
        resolution_s=resolution_s,
        requests=tuple(request for _, request in rows),
        lines=tuple(line for line, _ in rows),
    )


def _time(path: Path, line: int, request: TrafficRequest) -> float:
    if request.at_s is None:
        raise WorkloadInvalid(str(path), "a request of an open trace lacks at_s", line=line)
    return request.at_s


def read_canonical(path: Path) -> Trace:
    """Read a trace in the canonical form.

    Raises:
        WorkloadInvalid: The file cannot be read, is of another format or version, or a
            line does not parse or breaks a bound.
    """
    rows = read_lines(path)
    header = _header(path, rows)
    decoder = msgspec.json.Decoder(_Line)
    requests = []
    for number, text in rows:
        try:
            line = decoder.decode(text)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise WorkloadInvalid(str(path), str(error), line=number) from error
        if header.loop == "closed" and line.at_s is not None:
            raise WorkloadInvalid(str(path), "a request of a closed trace has at_s", line=number)
        requests.append((number, _request(path, number, line)))
    return make_trace(path, header.loop, requests, resolution_s=header.resolution_s)


def _header(path: Path, rows: Iterator[tuple[int, bytes]]) -> _Header:
    number, text = next(rows)
    try:
        header = msgspec.json.decode(text, type=_Header)
    except (msgspec.MsgspecError, RecursionError) as error:
        problem = f"is no header of a {FORMAT} file: {error}"
        raise WorkloadInvalid(str(path), problem, line=number) from error
    if header.format != FORMAT or header.version != VERSION:
        problem = f"is {header.format} version {header.version}, not {FORMAT} version {VERSION}"
        raise WorkloadInvalid(str(path), problem, line=number)
    return header


def _request(path: Path, number: int, line: _Line) -> TrafficRequest:
    prompt_tokens = segment_tokens(line.segments)
    if prompt_tokens > MOST_TOKENS:
        problem = f"a prompt of {prompt_tokens} tokens is above {MOST_TOKENS}"
        raise WorkloadInvalid(str(path), problem, line=number)
    return TrafficRequest(
        session_id=line.session_id,
        segments=tuple(line.segments),
        prompt_tokens=prompt_tokens,
        output_tokens=line.output_tokens,
        answer_id=line.answer_id,
        at_s=line.at_s,
        think_s=line.think_s,
        priority=line.priority,
        tier=line.tier,
        max_tokens=line.max_tokens,
        tenant=line.tenant,
    )


def canonical_bytes(trace: Trace, *, packed: bool) -> bytes:
    """Give a trace's file in the canonical form; the same trace gives the same bytes.

    Args:
        trace: What to write.
        packed: Whether to gzip it.
    """
    encoder = msgspec.json.Encoder()
    header = _Header(
        format=FORMAT, version=VERSION, loop=trace.loop, resolution_s=trace.resolution_s
    )
    text = io.BytesIO()
    text.write(encoder.encode(header) + b"\n")
    for request in trace.requests:
        text.write(encoder.encode(_line(request)) + b"\n")
    content = text.getvalue()
    return gzip.compress(content, mtime=0) if packed else content


def _line(request: TrafficRequest) -> _Line:
    segments: list[Segment] = [segment for segment in request.segments if segment[1]]
    return _Line(
        session_id=request.session_id,
        segments=segments,
        output_tokens=request.output_tokens,
        answer_id=request.answer_id,
        at_s=request.at_s,
        think_s=request.think_s,
        priority=request.priority,
        tier=request.tier,
        max_tokens=request.max_tokens,
        tenant=request.tenant,
    )
