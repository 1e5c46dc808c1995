"""Recorded traces as replay needs them: one model's requests in a window, and its endpoints.

Decides which rows count: those of one model, within a window of time and a number of
requests, which bounds memory. Of the features only the chosen endpoint's sizes are kept.
Called by :mod:`foretoken.replay.question`.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from collectors.trace_reader import TraceProblem, read_traces
from collectors.trace_row import TraceRow
from foretoken.errors import TraceNotReplayable
from foretoken.nearest import did_you_mean
from foretoken.trace_absence import absence
from predictor.types import Objective

_LONGEST_TRACE_S: Final = 1000 * 86_400.0
_SIZES: Final = ("kv_capacity_tokens", "block_size", "max_batched_tokens", "max_seqs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Say which part of a trace to read.

    Attributes:
        model: Whose requests; ``None`` where the trace has only one.
        from_s: Seconds after the first request of the trace, or Unix time where that is
            what it must be (beyond a thousand days); ``None`` from its beginning.
        until_s: Likewise, ``None`` to its end.
        limit: Most requests.
    """

    model: str | None = None
    from_s: float | None = None
    until_s: float | None = None
    limit: int = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """Hold one recorded request. Times are seconds after the first one read.

    Attributes:
        number: Its place in order of arrival.
        arrived_s: When it was received.
        dispatched_s: When it was last sent to an endpoint, ``None`` if it never was.
        endpoint: Where it ran.
        outcome: How it ended, a ``predictor.types.Outcome``.
        streamed: Whether the client saw its tokens as they came.
        prompt_tokens: The endpoint's count, else what the features were made with.
        prompt_bytes: Of its text.
        cached_tokens: Found in the prefix cache, by the endpoint.
        output_tokens: Generated, by the endpoint.
        max_tokens: Most that the client asked for.
        blocks: ``(n,)`` hashes of its prompt's blocks.
        block_bytes: Bytes of each.
        session: Hash of its conversation's name.
        tenant: Hash of whom it was served for.
        tier: Service tier it asked for.
        priority: Larger is served first.
        objective: What was promised.
        ttft_s: Receipt to first token.
        upstream_ttft_s: Last dispatch to first token.
        tpot_s: Mean gap between its tokens.
        e2e_s: Receipt to its end.
        policy: What chose its endpoint.
        reason: Why that one, or why none.
    """

    number: int
    arrived_s: float
    dispatched_s: float | None
    endpoint: str | None
    outcome: str
    streamed: bool
    prompt_tokens: int | None
    prompt_bytes: int
    cached_tokens: int | None
    output_tokens: int | None
    max_tokens: int | None
    blocks: NDArray[np.uint64]
    block_bytes: int
    session: str | None
    tenant: str | None
    tier: str | None
    priority: int
    objective: Objective
    ttft_s: float | None
    upstream_ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    policy: str | None
    reason: str

    @property
    def completed(self) -> bool:
        """Tell whether it was answered in full by an endpoint."""
        return self.outcome == "completed" and self.endpoint is not None


@dataclass(slots=True, kw_only=True)
class EndpointFacts:
    """Hold what a trace tells of one endpoint beside its latencies; ``None`` is not told.

    Attributes:
        name: As recorded.
        hardware: Its label.
        kv_capacity_tokens: What its KV cache holds, as scraped.
        block_size: Tokens of a KV block, likewise.
        max_batched_tokens: Token budget of a step, as configured.
        max_seqs: Most requests in its batch, likewise.
        full_at: Most requests that were seen running while others waited.
        running: Most requests that were seen running.
        offered: Requests for which it was a candidate.
    """

    name: str
    hardware: str | None = None
    kv_capacity_tokens: int | None = None
    block_size: int | None = None
    max_batched_tokens: int | None = None
    max_seqs: int | None = None
    full_at: int | None = None
    running: int = 0
    offered: int = 0


@dataclass(slots=True, kw_only=True)
class Traffic:
    """Hold what was read.

    Attributes:
        model: Whose traffic.
        began_s: Unix time of the first request read.
        requests: In order of arrival.
        endpoints: Every endpoint that was a candidate or served, by name.
        more: Whether the limit left requests out.
    """

    model: str
    began_s: float
    requests: list[Recorded] = field(default_factory=list)
    endpoints: dict[str, EndpointFacts] = field(default_factory=dict)
    more: bool = False

    @property
    def span_s(self) -> float:
        """Give the time from the first arrival to the last."""
        return self.requests[-1].arrived_s

    @property
    def policies(self) -> Counter[str]:
        """Count the requests by the policy that placed them."""
        return Counter(one.policy for one in self.requests if one.policy is not None)


def read_traffic(paths: Sequence[Path], window: Window) -> Traffic:
    """Read trace files, or folders of them.

    Raises:
        TraceNotReplayable: A file is broken or no trace of ours, nothing is in the window,
            or several models were served and none is named.
    """
    _check_there(paths)
    files = [file for path in paths for file in _files(path)]
    bounds = {file: _bounds(file) for file in files}
    begins_s = min((first for first, _ in bounds.values()), default=math.inf)
    starts_s, ends_s = _moment(window.from_s, begins_s), _moment(window.until_s, begins_s)
    wanted = [file for file in files if starts_s is None or bounds[file][1] >= starts_s]
    traffic: Traffic | None = None
    for row in read_traces(wanted, on_problem=_refuse):
        at_s = row.request.arrived_s
        if ends_s is not None and at_s >= ends_s:
            break
        if starts_s is not None and at_s < starts_s:
            continue
        if window.model is not None and _model(row) != window.model:
            continue
        if traffic is None:
            traffic = Traffic(model=_model(row), began_s=at_s)
        if len(traffic.requests) >= window.limit:
            traffic.more = True
            break
        _take(traffic, row)
    if traffic is None:
        raise TraceNotReplayable(_nothing(paths, window))
    _label(traffic, wanted)
    return traffic


def _check_there(paths: Sequence[Path]) -> None:
    for path in paths:
        if not path.exists():
            raise TraceNotReplayable(f"{path} does not exist")
    if (nothing := absence(paths)) is not None:
        raise TraceNotReplayable(nothing)


def _take(traffic: Traffic, row: TraceRow) -> None:
    if _model(row) != traffic.model:
        names = ", ".join(sorted({traffic.model, _model(row)}))
        raise TraceNotReplayable(
            f"the trace has several models, {names} among them: name one with --model"
        )
    request, measured = row.request, row.measurement
    after_s = row.dispatched_after_s
    arrived_s = request.arrived_s - traffic.began_s
    traffic.requests.append(
        Recorded(
            number=len(traffic.requests),
            arrived_s=arrived_s,
            dispatched_s=None if after_s is None else arrived_s + after_s,
            endpoint=row.endpoint,
            outcome=measured.outcome,
            streamed=bool(request.streamed),
            prompt_tokens=measured.prompt_tokens or row.prompt_tokens_estimate,
            prompt_bytes=request.prompt_bytes or 0,
            cached_tokens=measured.cached_tokens,
            output_tokens=measured.output_tokens,
            max_tokens=request.max_tokens,
            blocks=np.array(request.block_hashes, dtype=np.uint64),
            block_bytes=request.block_bytes or 0,
            session=request.session_id,
            tenant=request.tenant,
            tier=request.tier,
            priority=request.priority or 0,
            objective=request.objective,
            ttft_s=row.ttft_s,
            upstream_ttft_s=_known(row.upstream_ttft_s, measured.endpoint_ttft_s),
            tpot_s=_known(row.tpot_s, measured.endpoint_tpot_s),
            e2e_s=row.e2e_s,
            policy=row.policy,
            reason=row.reason or "",
        )
    )
    _learn(traffic.endpoints, row)


def _known(seen_s: float | None, told_s: float | None) -> float | None:
    """Take what was seen, else what the endpoint said of an answer that was not streamed."""
    return told_s if seen_s is None else seen_s


def _learn(endpoints: dict[str, EndpointFacts], row: TraceRow) -> None:
    for name in row.candidates:
        endpoints.setdefault(name, EndpointFacts(name=name)).offered += 1
    if row.endpoint is None:
        return
    facts = endpoints.setdefault(row.endpoint, EndpointFacts(name=row.endpoint))
    if row.features is None or row.endpoint not in row.candidates:
        return
    cells = row.features[row.candidates.index(row.endpoint)]
    seen = dict(zip(row.feature_names, cells.tolist(), strict=True))
    for name in _SIZES:
        value = seen.get(name, math.nan)
        if math.isfinite(value) and value >= 1:
            setattr(facts, name, int(value))
    running, waiting = (seen.get(f"{name}_requests", math.nan) for name in ("running", "waiting"))
    if math.isfinite(running):
        facts.running = max(facts.running, int(running))
        if waiting > 0:
            facts.full_at = max(facts.full_at or 0, int(running))


def _label(traffic: Traffic, files: Iterable[Path]) -> None:
    """Read what hardware the endpoints were said to be, from the rows that models learn from."""
    columns = ["observation.endpoint", "observation.hardware"]
    for file in files:
        if "observation" not in pq.read_schema(file).names:
            continue
        seen = pq.ParquetFile(file).read(columns=columns).flatten()
        for pair in seen.group_by(columns).aggregate([]).to_pylist():
            endpoint, hardware = (pair[name] for name in columns)
            if endpoint in traffic.endpoints and hardware is not None:
                traffic.endpoints[endpoint].hardware = hardware


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def _moment(given_s: float | None, begins_s: float) -> float | None:
    """Give Unix time for seconds from the beginning of the trace, or for Unix time."""
    if given_s is None or given_s > _LONGEST_TRACE_S:
        return given_s
    return begins_s + given_s if math.isfinite(begins_s) else given_s


def _bounds(file: Path) -> tuple[float, float]:
    """Find the first and the last arrival; infinite for a file that cannot be read."""
    try:
        arrived = pq.ParquetFile(file).read(columns=["arrived_at_s"]).column(0)
        found = pc.min_max(arrived).as_py()
    except (OSError, IndexError, pa.ArrowException):
        return math.inf, math.inf  # whoever reads it says what is wrong
    first, last = found["min"], found["max"]
    return (math.inf, -math.inf) if first is None else (float(first), float(last))


def _model(row: TraceRow) -> str:
    return row.fleet or row.request.model


def _refuse(problem: TraceProblem) -> None:
    raise TraceNotReplayable(f"{problem.path}: {problem.reason}")


def _nothing(paths: Sequence[Path], window: Window) -> str:
    seen = {_model(row) for row in read_traces(paths, on_problem=_refuse)}
    if not seen:
        return f"{', '.join(map(str, paths))}: no request is recorded there"
    if window.model is not None and window.model not in seen:
        meant = did_you_mean(window.model, sorted(seen)) or ";"
        return f"no request of {window.model!r}{meant} recorded are: {', '.join(sorted(seen))}"
    return "no request arrived between --from and --until"
