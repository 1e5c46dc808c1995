"""The form of a trace: one row per finished request, version 1.

Decides the columns, their units and where each comes from; :data:`COLUMNS` is the one
table of them. Counts, hashes and times, never text of a prompt or an output. Times are
epoch seconds in columns ending in ``_at_s`` and durations in all others. A column may
be added, null in older files; any other change raises :data:`TRACE_SCHEMA`, and the
reader keeps reading the versions before. Called by the recorder and the reader.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from predictor.features import FEATURES, SCHEMA_HASH
from predictor.types import Decision, FloatArray, Observation, Predictions, RequestRecord

TRACE_SCHEMA: Final = 1
KEY_VERSION: Final = b"foretoken.trace_schema"
KEY_FEATURES: Final = b"foretoken.features"
KEY_FEATURES_HASH: Final = b"foretoken.features_hash"

Cell = Any  # whatever pyarrow takes for the column's type; it checks, and ships no types

_UINT64: Final = (1 << 64) - 1
_INT64: Final = (1 << 63) - 1
_TEXT = pa.string()
_SECONDS = pa.float64()
_COUNT = pa.int64()
_VECTOR = pa.list_(pa.float32())
_MATRIX = pa.list_(pa.list_(pa.float32()))
_OBSERVATION = pa.struct([
    ("endpoint", _TEXT), ("model", _TEXT), ("hardware", _TEXT), ("observed_at_s", _SECONDS),
    ("features", pa.list_(pa.float64())), ("upstream_ttft_s", _SECONDS), ("tpot_s", _SECONDS),
    ("output_tokens", _COUNT), ("predicted_ttft_s", _SECONDS), ("predicted_tpot_s", _SECONDS),
    ("predicted_ttft_p90_s", _SECONDS), ("predicted_tpot_p90_s", _SECONDS),
])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Name one column of a trace and say what stands in it.

    Attributes:
        name: Its name, the unit at the end where there is one.
        form: Its Arrow type.
        value: Reads the cell of a record; the second argument turns the record's clock
            into epoch seconds by addition.
    """

    name: str
    form: pa.DataType
    value: Callable[[RequestRecord, float], Cell]


def _column(name: str, form: pa.DataType, value: Callable[[RequestRecord], Cell]) -> Column:
    return Column(name=name, form=form, value=lambda record, _: value(record))


def _decided(name: str, form: pa.DataType, value: Callable[[Decision], Cell]) -> Column:
    return _column(name, form, lambda r: None if r.decision is None else value(r.decision))


def _predicted(name: str, form: pa.DataType, value: Callable[[Predictions], Cell]) -> Column:
    return _decided(name, form, lambda d: None if d.predictions is None else value(d.predictions))


COLUMNS: Final[tuple[Column, ...]] = (
    _column("request_id", _TEXT, lambda r: _text(r.request.request_id)),
    Column(name="arrived_at_s", form=_SECONDS, value=lambda r, epoch: r.request.arrived_s + epoch),
    _column("model", _TEXT, lambda r: _text(r.request.model)),
    _column("fleet", _TEXT, lambda r: r.fleet),
    _column("session_hash", pa.uint64(), lambda r: _hash(r.request.session_id)),
    _column("tenant_hash", pa.uint64(), lambda r: _hash(r.request.tenant)),
    _column("tier", _TEXT, lambda r: _text(r.request.tier)),
    _column("priority", _COUNT, lambda r: _int64(r.request.priority)),
    _column("streamed", pa.bool_(), lambda r: r.request.streamed),
    _column("prompt_bytes", _COUNT, lambda r: r.request.prompt_bytes),
    _column("prompt_tokens", _COUNT, lambda r: r.measurement.prompt_tokens),
    _decided("prompt_tokens_estimate", _COUNT, lambda d: d.prompt_tokens),
    _column("cached_tokens", _COUNT, lambda r: r.measurement.cached_tokens),
    _column("output_tokens", _COUNT, lambda r: r.measurement.output_tokens),
    _column("max_tokens", _COUNT, lambda r: _int64(r.request.max_tokens)),
    _column("objective_ttft_s", _SECONDS, lambda r: r.request.objective.ttft_s),
    _column("objective_tpot_s", _SECONDS, lambda r: r.request.objective.tpot_s),
    _column(
        "block_hashes",
        pa.list_(pa.uint64()),
        lambda r: [block & _UINT64 for block in r.request.block_hashes],
    ),
    _column("block_bytes", _COUNT, lambda r: r.request.block_bytes),
    _decided("candidates", pa.list_(_TEXT), lambda d: d.endpoints),
    _decided("features", _MATRIX, lambda d: d.features),
    _decided("matched_tokens", _VECTOR, lambda d: d.matched_tokens),
    _predicted("predicted_ttft_s", _VECTOR, lambda p: p.ttft_s),
    _predicted("predicted_ttft_p90_s", _VECTOR, lambda p: p.ttft_p90_s),
    _predicted("predicted_tpot_s", _VECTOR, lambda p: p.tpot_s),
    _predicted("predicted_tpot_p90_s", _VECTOR, lambda p: p.tpot_p90_s),
    _predicted("layer", _TEXT, lambda p: p.layer),
    _predicted("model_version", _TEXT, lambda p: p.version),
    _decided("costs", _VECTOR, lambda d: d.costs),
    _decided("chosen", _COUNT, lambda d: d.chosen),
    _decided("shadow_chosen", _COUNT, lambda d: d.shadow_chosen),
    _decided("shadow_policy", _TEXT, lambda d: d.shadow_policy),
    _decided("predicted_s", _SECONDS, lambda d: d.predicted_s),
    _decided("shadow_predicted_s", _SECONDS, lambda d: d.shadow_predicted_s),
    _decided("policy", _TEXT, lambda d: d.policy),
    _decided("reason", _TEXT, lambda d: d.reason),
    _column("endpoint", _TEXT, lambda r: r.endpoint),
    _column("attempts", _COUNT, lambda r: r.attempts),
    _column("dispatched_after_s", _SECONDS, lambda r: _since_arrival(r, r.dispatched_s)),
    _column("ttft_s", _SECONDS, lambda r: r.ttft_s),
    _column("upstream_ttft_s", _SECONDS, lambda r: r.upstream_ttft_s),
    _column("tpot_s", _SECONDS, lambda r: r.tpot_s),
    _column("e2e_s", _SECONDS, lambda r: r.e2e_s),
    _column("endpoint_ttft_s", _SECONDS, lambda r: r.measurement.endpoint_ttft_s),
    _column("endpoint_tpot_s", _SECONDS, lambda r: r.measurement.endpoint_tpot_s),
    _column("outcome", _TEXT, lambda r: r.measurement.outcome),
    _column("status", _COUNT, lambda r: r.measurement.status),
    Column(
        name="observation",
        form=_OBSERVATION,
        value=lambda r, epoch: None if r.observation is None else _cells(r.observation, epoch),
    ),
)

ARROW_SCHEMA: Final = pa.schema(
    [(column.name, column.form) for column in COLUMNS],
    metadata={
        KEY_VERSION: str(TRACE_SCHEMA),
        KEY_FEATURES: json.dumps([[feature.name, feature.unit] for feature in FEATURES]),
        KEY_FEATURES_HASH: SCHEMA_HASH,
    },
)


def to_table(records: Sequence[RequestRecord], *, epoch_offset_s: float) -> pa.Table:
    """Turn finished requests into rows.

    Args:
        records: The requests.
        epoch_offset_s: Added to a record's times gives epoch seconds.
    """
    arrays = []
    for column in COLUMNS:
        cells = [column.value(record, epoch_offset_s) for record in records]
        if column.form == _VECTOR:
            arrays.append(_vectors(cells))
        elif column.form == _MATRIX:
            arrays.append(_matrices(cells))
        else:
            arrays.append(pa.array(cells, type=column.form))
    return pa.Table.from_arrays(arrays, schema=ARROW_SCHEMA)


def _vectors(cells: Sequence[FloatArray | None]) -> pa.Array:
    """Join ``(n,)`` arrays in one copy: by far most numbers of a trace are in these."""
    whole = [np.empty(0) if cell is None else cell for cell in cells]
    values = np.concatenate([*whole, np.empty(0)]).astype(np.float32)
    return pa.ListArray.from_arrays(
        _offsets([len(cell) for cell in whole]), pa.array(values), mask=_missing(cells)
    )


def _matrices(cells: Sequence[FloatArray | None]) -> pa.Array:
    """Join ``(n, k)`` arrays likewise."""
    whole = [np.empty((0, 0)) if cell is None else cell for cell in cells]
    rows = _vectors([cell.ravel() for cell in whole]).flatten()
    widths = [cell.shape[1] for cell in whole for _ in range(cell.shape[0])]
    inner = pa.ListArray.from_arrays(_offsets(widths), rows)
    return pa.ListArray.from_arrays(
        _offsets([len(cell) for cell in whole]), inner, mask=_missing(cells)
    )


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))


def _missing(cells: Sequence[FloatArray | None]) -> pa.Array:
    return pa.array([cell is None for cell in cells], type=pa.bool_())


def _cells(observation: Observation, epoch_offset_s: float) -> Mapping[str, Cell]:
    return {
        "endpoint": observation.endpoint,
        "model": observation.model,
        "hardware": observation.hardware,
        "observed_at_s": observation.observed_s + epoch_offset_s,
        "features": observation.features,
        "upstream_ttft_s": observation.upstream_ttft_s,
        "tpot_s": observation.tpot_s,
        "output_tokens": observation.output_tokens,
        "predicted_ttft_s": observation.predicted_ttft_s,
        "predicted_tpot_s": observation.predicted_tpot_s,
        "predicted_ttft_p90_s": observation.predicted_ttft_p90_s,
        "predicted_tpot_p90_s": observation.predicted_tpot_p90_s,
    }


def _since_arrival(record: RequestRecord, time_s: float | None) -> float | None:
    return None if time_s is None else time_s - record.request.arrived_s


def _int64(number: int | None) -> int | None:
    """Clip what a client may have written beyond all bounds: it must not break the file."""
    return None if number is None else max(-_INT64, min(number, _INT64))


def _text(text: str | None) -> str | None:
    """Replace what is not text, likewise."""
    return None if text is None else text.encode(errors="replace").decode()


def _hash(text: str | None) -> int | None:
    return None if text is None else xxhash.xxh3_64_intdigest(text.encode(errors="replace"))
