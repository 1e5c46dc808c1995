"""The control plane's section of the configuration."""

from pydantic import BaseModel, ConfigDict, Field


class ControlSettings(BaseModel):
    """Everything the control plane lets people set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Whoever may change the fleet or the mode can take the service down, so changes come
    # from this machine only, until someone decides otherwise. Reading is open to all.
    allow_remote_changes: bool = False
    # Time between two snapshots of the live page's event stream.
    snapshot_interval_s: float = Field(default=1.0, ge=0.1, le=60)
    # Finished requests kept for the decision routes and the per-endpoint errors: about
    # 40 kB each in a fleet of a hundred endpoints.
    history_requests: int = Field(default=1000, ge=1, le=100_000)
    # Length of the live page's charts.
    history_s: int = Field(default=900, ge=10, le=86_400)
