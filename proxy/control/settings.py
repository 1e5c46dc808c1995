"""The control plane's section of the configuration."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PredictorApiSettings(_Section):
    """Bound what the predictor's API takes, and say what llm-d's form of it speaks of."""

    # Rows of one call: endpoints of a prediction, observations of a batch. A hundred rows
    # cost about a millisecond, so this many hold a core for a tenth of a second.
    max_rows: int = Field(default=10_000, ge=1, le=1_000_000)
    # A row in llm-d's form is about 300 bytes.
    max_body_bytes: int = Field(default=16 * 2**20, ge=1024, le=1 << 30)
    # Observations that wait to be learned; past this they are refused, and counted.
    max_waiting_observations: int = Field(default=20_000, ge=1, le=1_000_000)
    # Models that observations may introduce, and endpoints of each: names are chosen by
    # callers, and each is remembered.
    max_models: int = Field(default=64, ge=1, le=10_000)
    max_endpoints: int = Field(default=10_000, ge=1, le=1_000_000)
    # Which number llm-d's callers get: the expectation, or the 90 % quantile.
    objective: Literal["mean", "p90"] = "mean"
    # Their rows name no model: whose fleet they are about.
    llmd_model: str = Field(default="llm-d", min_length=1, max_length=200)
    # Nor the hardware: a label gives day-0 values.
    llmd_hardware: str | None = Field(default=None, min_length=1, max_length=64)
    # Nor the size of the KV cache. It turns usage into context held; what a token of it
    # costs is learned, so that only its order matters.
    llmd_kv_tokens: int = Field(default=262_144, ge=1, le=1 << 32)


class ControlSettings(_Section):
    """Everything the control plane lets people set."""

    # Whoever may change the fleet or the mode can take the service down, so changes come
    # from this machine only, or with an admin's key, until someone decides otherwise.
    allow_remote_changes: bool = False
    # Whoever reaches a router that listens beyond loopback could read what it serves to
    # whom: without an admin's key the control plane is then for this machine only.
    allow_remote_reads: bool = False
    # Time between two snapshots of the live page's event stream.
    snapshot_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    # Live pages open at once: of a fleet of a hundred each takes some 70 kB a second.
    max_pages: int = Field(default=32, ge=1, le=10_000)
    # Finished requests kept for the decision routes and the per-endpoint errors: about
    # 40 kB each in a fleet of a hundred endpoints.
    history_requests: int = Field(default=1000, ge=1, le=100_000)
    # Length of the live page's charts.
    history_s: int = Field(default=900, ge=10, le=86_400)
    predictor: PredictorApiSettings = PredictorApiSettings()
