"""How rows in llm-d's form map onto the feature table: the one place that knows.

| llm-d | here |
|---|---|
| ``input_token_length`` | ``prompt_tokens`` |
| ``prefix_cache_score`` x ``input_token_length`` | ``cached_tokens`` |
| ``kv_cache_percentage`` | ``kv_cache_usage``; times the KV capacity, context held |
| ``num_request_waiting`` | ``waiting_requests``, ``queued_requests`` |
| ``num_request_running`` | ``inflight_requests``: their router counts its own, queued ones too |
| the difference of the two | ``decoding_requests``, ``running_requests`` |
| ``prefill_tokens_in_flight`` | ``queued_prefill_tokens`` |
| ``actual_ttft_ms``, ``actual_tpot_ms`` | ``upstream_ttft_s``, ``tpot_s``; 0 is not measured |
| ``endpoint`` (ours), else ``pod_type`` | endpoint ``llm-d``, ``llm-d/prefill``, ``llm-d/decode`` |

Whatever they do not send is unknown. ``num_tokens_generated``, ``decode_tokens_in_flight``
and the encoder sizes are ignored. Rows are built by :func:`predictor.features.feature_matrix`,
like everybody's. The other direction is ``foretoken/simulation/llmd_rows.py``.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from predictor.feature_rows import feature_matrix
from predictor.features import N_FEATURES, UNKNOWN
from predictor.types import EndpointLoad, EndpointState, FloatArray, Observation
from proxy.control.llmd_schemas import LlmdEntry, LlmdRow

ENDPOINT: Final = "llm-d"


def endpoint_of(row: LlmdRow) -> str:
    """Name the endpoint a row counts as: theirs have no identity.

    >>> row = dict(kv_cache_percentage=0.5, input_token_length=9, num_request_waiting=0,
    ...     num_request_running=0, num_tokens_generated=1, prefix_cache_score=0.0)
    >>> [endpoint_of(LlmdRow(**row, **more)) for more in (
    ...     {}, {"pod_type": "prefill"}, {"pod_type": "prefill", "endpoint": "a:1"})]
    ['llm-d', 'llm-d/prefill', 'a:1']
    """
    if row.endpoint is not None:
        return row.endpoint
    return f"{ENDPOINT}/{row.pod_type}" if row.pod_type else ENDPOINT


def llmd_matrix(rows: Sequence[LlmdRow], *, kv_tokens: int, now: float) -> FloatArray:
    """Build ``(n, n_features)`` from ``n`` rows, those of one prompt length together.

    >>> from predictor.features import COLUMN
    >>> row = LlmdRow(kv_cache_percentage=0.5, input_token_length=1000, num_request_waiting=2,
    ...     num_request_running=7, num_tokens_generated=1, prefix_cache_score=0.6,
    ...     prefill_tokens_in_flight=90)
    >>> built = llmd_matrix([row], kv_tokens=200_000, now=0.0)[0]
    >>> [float(built[COLUMN[name]]) for name in (
    ...     "uncached_tokens", "queued_requests", "decoding_requests", "context_ktok")]
    [400.0, 2.0, 5.0, 100.0]
    """
    matrix = np.empty((len(rows), N_FEATURES))
    for prompt_tokens, members in _by_prompt(rows).items():
        alike = [rows[index] for index in members]
        matrix[members] = feature_matrix(
            prompt_tokens=prompt_tokens,
            cached_tokens=np.array([row.prefix_cache_score for row in alike]) * prompt_tokens,
            max_tokens=None,
            expected_output_tokens=UNKNOWN,
            streamed=True,
            states=[_state(row, kv_tokens, now) for row in alike],
            loads=[_load(row, kv_tokens) for row in alike],
            now=now,
        )
    return matrix


def llmd_observations(
    entries: Sequence[LlmdEntry], *, model: str, hardware: str | None, kv_tokens: int, now: float
) -> list[Observation]:
    """Turn entries into observations; one without any time has nothing to teach."""
    measured = [entry for entry in entries if entry.actual_ttft_ms or entry.actual_tpot_ms]
    matrix = llmd_matrix(measured, kv_tokens=kv_tokens, now=now)
    return [
        Observation(
            endpoint=endpoint_of(entry),
            model=model,
            hardware=hardware,
            observed_s=now,
            features=row,
            upstream_ttft_s=entry.actual_ttft_ms / 1e3 or None,
            tpot_s=entry.actual_tpot_ms / 1e3 or None,
        )
        for entry, row in zip(measured, matrix, strict=True)
    ]


def _by_prompt(rows: Iterable[LlmdRow]) -> dict[int, list[int]]:
    """Group row numbers by prompt length: the rows one request has share it."""
    groups: dict[int, list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        groups[row.input_token_length].append(index)
    return groups


def _state(row: LlmdRow, kv_tokens: int, now: float) -> EndpointState:
    return EndpointState(
        endpoint=ENDPOINT,
        url="",
        running_requests=_decoding(row),
        waiting_requests=row.num_request_waiting,
        kv_cache_usage=row.kv_cache_percentage,
        kv_capacity_tokens=kv_tokens,
        scraped_s=now,
    )


def _load(row: LlmdRow, kv_tokens: int) -> EndpointLoad:
    return EndpointLoad(
        inflight_requests=row.num_request_running,
        queued_requests=row.num_request_waiting,
        queued_prefill_tokens=row.prefill_tokens_in_flight,
        decoding_requests=_decoding(row),
        context_tokens=row.kv_cache_percentage * kv_tokens,
        oldest_queued_s=UNKNOWN,
        prefill_tokens_per_s=UNKNOWN,
    )


def _decoding(row: LlmdRow) -> int:
    return max(row.num_request_running - row.num_request_waiting, 0)
