"""The control plane's section of the configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictorApiSettings(_Section):
    """Bound what the predictor's API takes, and say what llm-d's form of it speaks of."""

    max_rows: int = Field(default=10_000, ge=1, le=1_000_000)
    """Rows of one call, at most: endpoints of a prediction, observations of a batch. A hundred rows
    cost about a millisecond, so this many hold a core for a tenth of a second."""
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, le=1 << 30)
    """Longest body of a call. A row in llm-d's form is about 300 bytes."""
    max_waiting_observations: int = Field(default=20_000, ge=1, le=1_000_000)
    """Observations that wait to be learned; past this they are refused, and counted."""
    max_models: int = Field(default=64, ge=1, le=10_000)
    """Models that observations may introduce: names are chosen by callers, and each is
    remembered."""
    max_endpoints: int = Field(default=10_000, ge=1, le=1_000_000)
    """Endpoints of each of them, likewise."""
    objective: Literal["mean", "p90"] = "mean"
    """Which number llm-d's callers get: the expectation, or the 90 % quantile."""
    llmd_model: str = Field(default="llm-d", min_length=1, max_length=200)
    """Rows in llm-d's form name no model: whose fleet they are about."""
    llmd_hardware: str | None = Field(default=None, min_length=1, max_length=64)
    """Nor the hardware: a label here gives day-0 values."""
    llmd_kv_tokens: int = Field(default=262_144, ge=1, le=1 << 32)
    """Nor the size of the KV cache. It turns usage into context held; what a token of it costs is
    learned, so that only its order matters."""


class ControlSettings(_Section):
    """Everything the control plane lets people set."""

    allow_remote_changes: bool = False
    """Take changes from other machines without an admin's key. Whoever may change the fleet or the
    mode can take the service down."""
    allow_remote_reads: bool = False
    """Let other machines read the control plane without an admin's key, where the router listens
    beyond loopback: it tells what is served to whom."""
    snapshot_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    """Time between two snapshots of the live page's event stream."""
    max_pages: int = Field(default=32, ge=1, le=10_000)
    """Live pages open at once: of a fleet of a hundred each takes some 70 kB a second."""
    history_requests: int = Field(default=1000, ge=1, le=100_000)
    """Finished requests kept for the decision routes and the per-endpoint errors: about 40 kB each
    in a fleet of a hundred endpoints."""
    history_s: int = Field(default=900, ge=10, le=86_400)
    """Time that the live page's charts show."""
    predictor: PredictorApiSettings = PredictorApiSettings()
