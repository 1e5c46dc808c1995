"""One recorded request, in the words of the vocabulary.

Decides what of a trace's row is given back for replay. Called by the trace reader.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from predictor.types import FloatArray, Measurement, Objective, Observation, RequestFeatures

Row = Mapping[str, Any]  # cells of one row; their types are the schema's, which pyarrow checks


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """Hold one recorded request, to be sent or decided again.

    Attributes:
        request: As it came in; session and tenant are hexadecimal hashes, ``arrived_s``
            is in epoch seconds, ``prompt_tokens`` is the endpoint's count.
        fleet: Base model that served it.
        measurement: How it ended.
        dispatched_after_s: Receipt to last dispatch, ``None`` if there was none.
        ttft_s: Receipt to first token.
        upstream_ttft_s: Last dispatch to first token.
        tpot_s: Mean gap between output tokens.
        e2e_s: Receipt to the end.
        endpoint: Where it was served.
        candidates: Endpoints it could have gone to.
        features: ``(n_candidates, n_features)`` at dispatch, ``None`` without a decision.
        feature_names: Names of the columns of ``features`` when it was recorded.
        prompt_tokens_estimate: What the features were made with.
        chosen: Index of the candidate chosen.
        policy: Policy that chose.
        reason: Why that one.
    """

    request: RequestFeatures
    fleet: str | None
    measurement: Measurement
    dispatched_after_s: float | None
    ttft_s: float | None
    upstream_ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    endpoint: str | None
    candidates: tuple[str, ...]
    features: FloatArray | None
    feature_names: tuple[str, ...]
    prompt_tokens_estimate: int | None
    chosen: int | None
    policy: str | None
    reason: str | None


def to_observation(cells: Row) -> Observation:
    """Make an observation of the cells of the column of that name."""
    named = {name: value for name, value in cells.items() if name != "observed_at_s"}
    named["features"] = np.array(cells["features"], dtype=np.float64)
    return Observation(observed_s=cells["observed_at_s"], **named)


def to_trace_row(row: Row, feature_names: tuple[str, ...]) -> TraceRow:
    """Make a recorded request of the cells of a row."""
    features = row["features"]
    return TraceRow(
        request=_request(row),
        fleet=row["fleet"],
        measurement=Measurement(
            outcome=row["outcome"],
            prompt_tokens=row["prompt_tokens"],
            cached_tokens=row["cached_tokens"],
            output_tokens=row["output_tokens"],
            endpoint_ttft_s=row["endpoint_ttft_s"],
            endpoint_tpot_s=row["endpoint_tpot_s"],
            status=row["status"],
        ),
        dispatched_after_s=row["dispatched_after_s"],
        ttft_s=row["ttft_s"],
        upstream_ttft_s=row["upstream_ttft_s"],
        tpot_s=row["tpot_s"],
        e2e_s=row["e2e_s"],
        endpoint=row["endpoint"],
        candidates=tuple(row["candidates"] or ()),
        features=None if features is None else np.array(features, dtype=np.float64),
        feature_names=feature_names,
        prompt_tokens_estimate=row["prompt_tokens_estimate"],
        chosen=row["chosen"],
        policy=row["policy"],
        reason=row["reason"],
    )


def _request(row: Row) -> RequestFeatures:
    return RequestFeatures(
        request_id=row["request_id"],
        arrived_s=row["arrived_at_s"],
        model=row["model"],
        prompt_bytes=row["prompt_bytes"],
        prompt_tokens=row["prompt_tokens"],
        max_tokens=row["max_tokens"],
        streamed=row["streamed"],
        block_hashes=tuple(row["block_hashes"] or ()),
        block_bytes=row["block_bytes"],
        session_id=_hex(row["session_hash"]),
        tenant=_hex(row["tenant_hash"]),
        tier=row["tier"],
        priority=row["priority"],
        objective=Objective(ttft_s=row["objective_ttft_s"], tpot_s=row["objective_tpot_s"]),
    )


def _hex(number: int | None) -> str | None:
    return None if number is None else f"{number:016x}"
