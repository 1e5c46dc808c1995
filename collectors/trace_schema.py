"""The form of a trace: one row per finished request, version 1.

Decides the columns, their units and where each comes from: :data:`COLUMNS` names them, and
the generators at the end give them in that order, which is all that pairs the two. Counts,
hashes and times, never text of a prompt or an output. Times are epoch seconds in columns
ending in ``_at_s`` and durations in all others. A column may be added, null in older files;
any other change raises :data:`TRACE_SCHEMA`, and the reader keeps reading the versions
before. Called by the recorder and the reader.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Final

import pyarrow as pa

from collectors.trace_columns import (
    COUNT,
    FEATURES,
    FLAG,
    HASH,
    HASHES,
    MATRIX,
    NAMES,
    SECONDS,
    TEXT,
    VECTOR,
    counts,
    feature_rows,
    flags,
    hash_lists,
    hashes_of_text,
    matrices,
    missing,
    name_lists,
    quantiles,
    seconds,
    texts,
    vectors,
)
from predictor import features as vocabulary
from predictor.types import (
    P90,
    Decision,
    Measurement,
    Observation,
    RequestFeatures,
    RequestRecord,
)

TRACE_SCHEMA: Final = 1
KEY_VERSION: Final = b"foretoken.trace_schema"
KEY_FEATURES: Final = b"foretoken.features"
KEY_FEATURES_HASH: Final = b"foretoken.features_hash"

COLUMNS: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("request_id", TEXT),
    ("arrived_at_s", SECONDS),
    ("model", TEXT),
    ("fleet", TEXT),
    ("session_hash", HASH),
    ("tenant_hash", HASH),
    ("tier", TEXT),
    ("priority", COUNT),
    ("streamed", FLAG),
    ("prompt_bytes", COUNT),
    ("prompt_tokens", COUNT),
    ("prompt_tokens_estimate", COUNT),
    ("cached_tokens", COUNT),
    ("output_tokens", COUNT),
    ("max_tokens", COUNT),
    ("objective_ttft_s", SECONDS),
    ("objective_tpot_s", SECONDS),
    ("block_hashes", HASHES),
    ("block_bytes", COUNT),
    ("candidates", NAMES),
    ("features", MATRIX),
    ("matched_tokens", VECTOR),
    ("predicted_ttft_s", VECTOR),
    ("predicted_ttft_p90_s", VECTOR),
    ("predicted_tpot_s", VECTOR),
    ("predicted_tpot_p90_s", VECTOR),
    ("layer", TEXT),
    ("model_version", TEXT),
    ("costs", VECTOR),
    ("chosen", COUNT),
    ("shadow_chosen", COUNT),
    ("shadow_policy", TEXT),
    ("predicted_s", SECONDS),
    ("shadow_predicted_s", SECONDS),
    ("policy", TEXT),
    ("reason", TEXT),
    ("endpoint", TEXT),
    ("attempts", COUNT),
    ("dispatched_after_s", SECONDS),
    ("ttft_s", SECONDS),
    ("upstream_ttft_s", SECONDS),
    ("tpot_s", SECONDS),
    ("e2e_s", SECONDS),
    ("endpoint_ttft_s", SECONDS),
    ("endpoint_tpot_s", SECONDS),
    ("outcome", TEXT),
    ("status", COUNT),
)
"""Names, the unit at the end where there is one, and Arrow types."""

OBSERVATION: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("endpoint", TEXT),
    ("model", TEXT),
    ("hardware", TEXT),
    ("observed_at_s", SECONDS),
    ("features", FEATURES),
    ("upstream_ttft_s", SECONDS),
    ("tpot_s", SECONDS),
    ("output_tokens", COUNT),
    ("predicted_ttft_s", SECONDS),
    ("predicted_tpot_s", SECONDS),
    ("predicted_ttft_p90_s", SECONDS),
    ("predicted_tpot_p90_s", SECONDS),
)
"""What stands in the last column, ``observation``: the row models learn from, if there is one."""

ARROW_SCHEMA: Final = pa.schema(
    [*COLUMNS, ("observation", pa.struct(list(OBSERVATION)))],
    metadata={
        KEY_VERSION: str(TRACE_SCHEMA),
        KEY_FEATURES: json.dumps([[feature.name, feature.unit] for feature in vocabulary.FEATURES]),
        KEY_FEATURES_HASH: vocabulary.SCHEMA_HASH,
    },
)


class TableMaking:
    """Turn finished requests into rows of a table, some columns at a time.

    Args:
        records: The requests.
        epoch_offset_s: Added to a record's times gives epoch seconds.
    """

    def __init__(self, records: Sequence[RequestRecord], *, epoch_offset_s: float) -> None:
        self._observations = [record.observation for record in records]
        self._columns = chain(
            _columns(records, epoch_offset_s), _observed(self._observations, epoch_offset_s)
        )
        self._arrays: list[pa.Array] = []

    def go_on(self, columns: int) -> bool:
        """Make so many more columns; say whether there are others still to be made."""
        self._arrays.extend(islice(self._columns, columns))
        return len(self._arrays) < len(COLUMNS) + len(OBSERVATION)

    def table(self) -> pa.Table:
        """Give the table, with what was not made yet."""
        self._arrays.extend(self._columns)
        observation = pa.StructArray.from_arrays(
            self._arrays[len(COLUMNS) :],
            fields=list(ARROW_SCHEMA.field("observation").type),
            mask=missing(self._observations) if None in self._observations else None,
        )
        arrays = [*self._arrays[: len(COLUMNS)], observation]
        return pa.Table.from_arrays(arrays, schema=ARROW_SCHEMA)


def to_table(records: Sequence[RequestRecord], *, epoch_offset_s: float) -> pa.Table:
    """Turn finished requests into rows at once; both as for :class:`TableMaking`."""
    return TableMaking(records, epoch_offset_s=epoch_offset_s).table()


def _columns(records: Sequence[RequestRecord], epoch_offset_s: float) -> Iterator[pa.Array]:
    """Make the columns in the order of :data:`COLUMNS`.

    Written out one by one: compiled, each reads its attribute without asking for its name.
    """
    requests = [record.request for record in records]
    decisions = [record.decision for record in records]
    measured = [record.measurement for record in records]
    yield from _asked(requests, records, epoch_offset_s)
    yield from _counted(requests, decisions, measured)
    yield from _decided(decisions)
    yield from _ended(records, measured)


def _asked(
    requests: Sequence[RequestFeatures], records: Sequence[RequestRecord], epoch_offset_s: float
) -> Iterator[pa.Array]:
    yield texts([r.request_id for r in requests])
    yield seconds([r.arrived_s + epoch_offset_s for r in requests])
    yield texts([r.model for r in requests])
    yield texts([r.fleet for r in records])
    yield hashes_of_text([r.session_id for r in requests])
    yield hashes_of_text([r.tenant for r in requests])
    yield texts([r.tier for r in requests])
    yield counts([r.priority for r in requests])
    yield flags([r.streamed for r in requests])
    yield counts([r.prompt_bytes for r in requests])


def _counted(
    requests: Sequence[RequestFeatures],
    decisions: Sequence[Decision | None],
    measured: Sequence[Measurement],
) -> Iterator[pa.Array]:
    yield counts([m.prompt_tokens for m in measured])
    yield counts([None if d is None else d.prompt_tokens for d in decisions])
    yield counts([m.cached_tokens for m in measured])
    yield counts([m.output_tokens for m in measured])
    yield counts([r.max_tokens for r in requests])
    yield seconds([r.objective.ttft_s for r in requests])
    yield seconds([r.objective.tpot_s for r in requests])
    yield hash_lists([r.block_hashes for r in requests])
    yield counts([r.block_bytes for r in requests])


def _decided(decisions: Sequence[Decision | None]) -> Iterator[pa.Array]:
    said = [None if d is None else d.predictions for d in decisions]
    yield name_lists([None if d is None else d.endpoints for d in decisions])
    yield matrices([None if d is None else d.features for d in decisions])
    yield vectors([None if d is None else d.matched_tokens for d in decisions])
    yield vectors([None if p is None else p.ttft_s for p in said])
    ttft_p90_s, tpot_p90_s = quantiles([None if p is None else p.quantiles_s for p in said], P90)
    yield ttft_p90_s
    yield vectors([None if p is None else p.tpot_s for p in said])
    yield tpot_p90_s
    yield texts([None if p is None else p.layer for p in said])
    yield texts([None if p is None else p.version for p in said])
    yield vectors([None if d is None else d.costs for d in decisions])
    yield counts([None if d is None else d.chosen for d in decisions])
    yield counts([None if d is None else d.shadow_chosen for d in decisions])
    yield texts([None if d is None else d.shadow_policy for d in decisions])
    yield seconds([None if d is None else d.predicted_s for d in decisions])
    yield seconds([None if d is None else d.shadow_predicted_s for d in decisions])
    yield texts([None if d is None else d.policy for d in decisions])
    yield texts([None if d is None else d.reason for d in decisions])


def _ended(records: Sequence[RequestRecord], measured: Sequence[Measurement]) -> Iterator[pa.Array]:
    yield texts([r.endpoint for r in records])
    yield counts([r.attempts for r in records])
    yield seconds([_since_arrival(r) for r in records])
    yield seconds([r.ttft_s for r in records])
    yield seconds([r.upstream_ttft_s for r in records])
    yield seconds([r.tpot_s for r in records])
    yield seconds([r.e2e_s for r in records])
    yield seconds([m.endpoint_ttft_s for m in measured])
    yield seconds([m.endpoint_tpot_s for m in measured])
    yield texts([m.outcome for m in measured])
    yield counts([m.status for m in measured])


def _observed(
    observations: Sequence[Observation | None], epoch_offset_s: float
) -> Iterator[pa.Array]:
    """Make the columns of :data:`OBSERVATION`, likewise."""
    yield texts([None if o is None else o.endpoint for o in observations])
    yield texts([None if o is None else o.model for o in observations])
    yield texts([None if o is None else o.hardware for o in observations])
    yield seconds([None if o is None else o.observed_s + epoch_offset_s for o in observations])
    yield feature_rows([None if o is None else o.features for o in observations])
    yield seconds([None if o is None else o.upstream_ttft_s for o in observations])
    yield seconds([None if o is None else o.tpot_s for o in observations])
    yield counts([None if o is None else o.output_tokens for o in observations])
    yield seconds([None if o is None else o.predicted_ttft_s for o in observations])
    yield seconds([None if o is None else o.predicted_tpot_s for o in observations])
    yield seconds([None if o is None else o.predicted_ttft_p90_s for o in observations])
    yield seconds([None if o is None else o.predicted_tpot_p90_s for o in observations])


def _since_arrival(record: RequestRecord) -> float | None:
    return None if record.dispatched_s is None else record.dispatched_s - record.request.arrived_s
