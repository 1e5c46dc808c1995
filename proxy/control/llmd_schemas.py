"""The bodies of llm-d's latency predictor sidecar, names and bounds as its servers have them.

Beyond theirs: an ``endpoint`` may name where a row belongs (their rows have no
identity), and numbers no real server can show are refused like negative ones. Fields
not listed are ignored, as there: other versions of a router send more.

Source: llm-d-latency-predictor b5d19f1, ``prediction/prediction_server.py`` and
``training/training_server.py``; llm-d-router ebab687, ``latencypredictorclient``.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

Tokens = Annotated[int, Field(ge=0, le=100_000_000)]
Requests = Annotated[int, Field(ge=0, le=1_000_000)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Theirs(BaseModel):
    # protected_namespaces: several of their names begin with "model_".
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())


class LlmdRow(_Theirs):
    """State of one endpoint and size of one request: a row to predict."""

    kv_cache_percentage: Fraction = Field(description="Fraction of KV blocks in use")
    input_token_length: Tokens = Field(description="Prompt tokens")
    num_request_waiting: Requests = Field(description="The endpoint's own waiting count")
    num_request_running: Requests = Field(description="Requests the router has in flight there")
    num_tokens_generated: Tokens = Field(description="Ignored: 1 or 0 in all rows")
    prefix_cache_score: Fraction = Field(description="Share of the prompt believed cached")
    pod_type: str | None = Field(default="", max_length=64, description="prefill, decode or empty")
    prefill_tokens_in_flight: Tokens = Field(default=0, description="Uncached, not begun")
    decode_tokens_in_flight: Tokens = Field(default=0, description="Ignored: 0 in all rows")
    encoder_matched_size: Tokens = Field(default=0, description="Ignored")
    encoder_input_size: Tokens = Field(default=0, description="Ignored")
    endpoint: str | None = Field(
        default=None, min_length=1, max_length=256, description="Beyond llm-d: whose row it is"
    )


class LlmdEntry(LlmdRow):
    """A row with what was measured; a time of 0 was not measured."""

    actual_ttft_ms: float = Field(ge=0, le=3.6e6)
    actual_tpot_ms: float = Field(ge=0, le=6e4)
    timestamp: datetime | None = Field(default=None, description="Ignored: receipt counts")


class LlmdPredictionBatch(_Theirs):
    """Rows to predict in one call."""

    # FailFast: errors of millions of wrong rows would take minutes and gigabytes to list.
    requests: Annotated[list[LlmdRow], FailFast()] = Field(min_length=1)


class LlmdTrainingBatch(_Theirs):
    """Rows to learn from."""

    entries: Annotated[list[LlmdEntry], FailFast()]


class LlmdFlush(_Theirs):
    """What to forget."""

    flush_training_data: bool = True
    flush_test_data: bool = True
    flush_metrics: bool = True
    reason: str | None = None


class LlmdPrediction(_Theirs):
    """What one row would see, in milliseconds."""

    ttft_ms: float
    tpot_ms: float
    predicted_at: datetime
    model_type: str
    objective_type: Literal["mean", "quantile"]
    quantile: float
    last_model_load: datetime | None


class LlmdSinglePrediction(LlmdPrediction):
    """A prediction with what their training server adds to a single one."""

    ttft_uncertainty: float
    tpot_uncertainty: float
    ttft_prediction_bounds: tuple[float, float]
    tpot_prediction_bounds: tuple[float, float]


class LlmdPredictions(_Theirs):
    """Answer to a strict bulk call."""

    predictions: list[LlmdPrediction]
    total_requests: int
    successful_predictions: int
    failed_predictions: int
    processing_time_ms: float


class LlmdRowError(_Theirs):
    """A row that could not be predicted."""

    index: int
    error: str
    request: dict[str, object]


class LlmdPredictionsOrErrors(_Theirs):
    """Answer to a bulk call in which rows fail one by one."""

    predictions: list[LlmdPrediction | None]
    errors: list[LlmdRowError]
    total_requests: int
    successful_predictions: int
    failed_predictions: int
    processing_time_ms: float


class LlmdTaken(_Theirs):
    """Answer to training data."""

    message: str
    refused: dict[str, int] = Field(description="Beyond llm-d: what taught nothing, by reason")


class LlmdFlushed(_Theirs):
    """Answer to a flush."""

    success: Literal[True] = True
    flushed_at: datetime
    reason: str | None
    ttft_training_samples_flushed: int
    tpot_training_samples_flushed: int
    ttft_test_samples_flushed: Literal[0] = 0
    tpot_test_samples_flushed: Literal[0] = 0
    metrics_cleared: bool
    message: str


class LlmdError(_Theirs):
    """FastAPI's own error body: a text, or what was wrong with each field."""

    detail: str | list[dict[str, object]]
