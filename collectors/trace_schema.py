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
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Final, Literal

import pyarrow as pa

from collectors.trace_columns import (
    COUNT,
    FLAG,
    HASH,
    HASHES,
    MAKERS,
    MATRIX,
    NAMES,
    SECONDS,
    TEXT,
    VECTOR,
    Cell,
    Maker,
    quantiles,
)
from collectors.trace_columns import FEATURES as FEATURE_ROW
from predictor.features import FEATURES, SCHEMA_HASH
from predictor.types import P90, Decision, Observation, Predictions, RequestRecord

TRACE_SCHEMA: Final = 1
KEY_VERSION: Final = b"foretoken.trace_schema"
KEY_FEATURES: Final = b"foretoken.features"
KEY_FEATURES_HASH: Final = b"foretoken.features_hash"

_PARTS: Final = (Decision, Predictions, Observation)  # that a record may lack
Part = Literal["record", "request", "decision", "predictions", "measurement", "observation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Name one column of a trace and say what stands in it.

    Attributes:
        name: Its name, the unit at the end where there is one; epoch seconds by ``_at_s``.
        form: Its Arrow type.
        part: What it is read of: the record, or a part of it.
        cell: Reads it; of a part that is missing every attribute is ``None``.
        make: Makes the column of many rows' cells.
    """

    name: str
    form: pa.DataType
    part: Part
    cell: Callable[[Any], Cell]
    make: Maker


def _of(
    part: Part, *columns: tuple[str, pa.DataType] | tuple[str, pa.DataType, Callable[[Any], Cell]]
) -> tuple[Column, ...]:
    """Read columns of one part, each the attribute of its name or what is given third."""
    return tuple(
        Column(
            name=name,
            form=form,
            part=part,
            cell=rest[0] if rest else attrgetter(name),
            make=MAKERS[form],
        )
        for name, form, *rest in columns
    )


def _p90(name: str, target: int) -> Column:
    return Column(
        name=name,
        form=VECTOR,
        part="predictions",
        cell=attrgetter("quantiles_s"),
        make=quantiles(target, P90),
    )


def _since_arrival(record: RequestRecord) -> float | None:
    return None if record.dispatched_s is None else record.dispatched_s - record.request.arrived_s


COLUMNS: Final[tuple[Column, ...]] = (
    *_of(
        "request",
        ("request_id", TEXT),
        ("arrived_at_s", SECONDS, attrgetter("arrived_s")),
        ("model", TEXT),
    ),
    *_of("record", ("fleet", TEXT)),
    *_of(
        "request",
        ("session_hash", HASH, attrgetter("session_id")),
        ("tenant_hash", HASH, attrgetter("tenant")),
        ("tier", TEXT),
        ("priority", COUNT),
        ("streamed", FLAG),
        ("prompt_bytes", COUNT),
    ),
    *_of("measurement", ("prompt_tokens", COUNT)),
    *_of("decision", ("prompt_tokens_estimate", COUNT, attrgetter("prompt_tokens"))),
    *_of("measurement", ("cached_tokens", COUNT), ("output_tokens", COUNT)),
    *_of(
        "request",
        ("max_tokens", COUNT),
        ("objective_ttft_s", SECONDS, attrgetter("objective.ttft_s")),
        ("objective_tpot_s", SECONDS, attrgetter("objective.tpot_s")),
        ("block_hashes", HASHES),
        ("block_bytes", COUNT),
    ),
    *_of(
        "decision",
        ("candidates", NAMES, attrgetter("endpoints")),
        ("features", MATRIX),
        ("matched_tokens", VECTOR),
    ),
    *_of("predictions", ("predicted_ttft_s", VECTOR, attrgetter("ttft_s"))),
    _p90("predicted_ttft_p90_s", 0),
    *_of("predictions", ("predicted_tpot_s", VECTOR, attrgetter("tpot_s"))),
    _p90("predicted_tpot_p90_s", 1),
    *_of("predictions", ("layer", TEXT), ("model_version", TEXT, attrgetter("version"))),
    *_of(
        "decision",
        ("costs", VECTOR),
        ("chosen", COUNT),
        ("shadow_chosen", COUNT),
        ("shadow_policy", TEXT),
        ("predicted_s", SECONDS),
        ("shadow_predicted_s", SECONDS),
        ("policy", TEXT),
        ("reason", TEXT),
    ),
    *_of(
        "record",
        ("endpoint", TEXT),
        ("attempts", COUNT),
        ("dispatched_after_s", SECONDS, _since_arrival),
        ("ttft_s", SECONDS),
        ("upstream_ttft_s", SECONDS),
        ("tpot_s", SECONDS),
        ("e2e_s", SECONDS),
    ),
    *_of(
        "measurement",
        ("endpoint_ttft_s", SECONDS),
        ("endpoint_tpot_s", SECONDS),
        ("outcome", TEXT),
        ("status", COUNT),
    ),
)

OBSERVATION: Final[tuple[Column, ...]] = _of(
    "observation",
    ("endpoint", TEXT),
    ("model", TEXT),
    ("hardware", TEXT),
    ("observed_at_s", SECONDS, attrgetter("observed_s")),
    ("features", FEATURE_ROW),
    ("upstream_ttft_s", SECONDS),
    ("tpot_s", SECONDS),
    ("output_tokens", COUNT),
    ("predicted_ttft_s", SECONDS),
    ("predicted_tpot_s", SECONDS),
    ("predicted_ttft_p90_s", SECONDS),
    ("predicted_tpot_p90_s", SECONDS),
)
"""What stands in the last column, ``observation``: the row models learn from, if there is one."""

_ALL_COLUMNS: Final = (*COLUMNS, *OBSERVATION)


ARROW_SCHEMA: Final = pa.schema(
    [
        *((column.name, column.form) for column in COLUMNS),
        ("observation", pa.struct([(column.name, column.form) for column in OBSERVATION])),
    ],
    metadata={
        KEY_VERSION: str(TRACE_SCHEMA),
        KEY_FEATURES: json.dumps([[feature.name, feature.unit] for feature in FEATURES]),
        KEY_FEATURES_HASH: SCHEMA_HASH,
    },
)


_NOTHING: Final = SimpleNamespace(
    **{field: None for part in _PARTS for field in part.__struct_fields__}
)
"""Stands for a part that a record lacks: none of it is known."""


class TableMaking:
    """Turn finished requests into rows of a table, some columns at a time.

    Args:
        records: The requests.
        epoch_offset_s: Added to a record's times gives epoch seconds.
    """

    def __init__(self, records: Sequence[RequestRecord], *, epoch_offset_s: float) -> None:
        self._parts = _parts(records)
        self._epoch_offset_s = epoch_offset_s
        self._arrays: list[pa.Array] = []

    def go_on(self, columns: int) -> bool:
        """Make so many more columns; say whether there are others still to be made."""
        made = len(self._arrays)
        for column in _ALL_COLUMNS[made : made + columns]:
            self._arrays.append(_array(column, self._parts, self._epoch_offset_s))
        return len(self._arrays) < len(_ALL_COLUMNS)

    def table(self) -> pa.Table:
        """Give the table, all columns being made."""
        observations = self._parts["observation"]
        observation = pa.StructArray.from_arrays(
            self._arrays[len(COLUMNS) :],
            fields=list(ARROW_SCHEMA.field("observation").type),
            mask=_unseen(observations) if _NOTHING in observations else None,
        )
        arrays = [*self._arrays[: len(COLUMNS)], observation]
        return pa.Table.from_arrays(arrays, schema=ARROW_SCHEMA)


def to_table(records: Sequence[RequestRecord], *, epoch_offset_s: float) -> pa.Table:
    """Turn finished requests into rows at once; both as for :class:`TableMaking`."""
    making = TableMaking(records, epoch_offset_s=epoch_offset_s)
    making.go_on(len(_ALL_COLUMNS))
    return making.table()


def _unseen(observations: Sequence[object]) -> pa.Array:
    return pa.array([observation is _NOTHING for observation in observations], type=FLAG)


def _parts(records: Sequence[RequestRecord]) -> Mapping[Part, Sequence[Any]]:
    decisions = [record.decision or _NOTHING for record in records]
    return {
        "record": records,
        "request": [record.request for record in records],
        "decision": decisions,
        "predictions": [decision.predictions or _NOTHING for decision in decisions],
        "measurement": [record.measurement for record in records],
        "observation": [record.observation or _NOTHING for record in records],
    }


def _array(column: Column, parts: Mapping[Part, Sequence[Any]], epoch_offset_s: float) -> pa.Array:
    cells = list(map(column.cell, parts[column.part]))
    if column.name.endswith("_at_s"):
        cells = [None if cell is None else cell + epoch_offset_s for cell in cells]
    return column.make(cells)
