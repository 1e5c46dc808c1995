"""What fleets are sized for: the part of the scheduler's settings that autoscalers need."""

from pydantic import BaseModel, ConfigDict, Field


class ScalingSettings(BaseModel):
    """Say what a fleet is sized for, and how far ahead."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    ttft_s: float | None = Field(default=None, gt=0, le=3600)
    """Time to first token that capacity is counted at; unset: the tightest of any tier that must
    not be refused, or 2 s where there is none."""
    tpot_s: float | None = Field(default=None, gt=0, le=60)
    """Time per output token, likewise; where no tier has one, none."""
    confidence: float = Field(default=0.9, gt=0, lt=1)
    """Share of the requests that shall have both."""
    target_ratio: float = Field(default=0.85, gt=0, le=1)
    """Share of that capacity to plan with: the rest is for what no trend shows."""
    startup_s: float = Field(default=120.0, ge=0, le=3600)
    """From asking for an endpoint to its first request: how far ahead the rate is forecast. vLLM
    takes one to several minutes to load a model and capture its graphs."""
    window_s: float = Field(default=300.0, ge=60, le=3600)
    """Arrivals that the trend is drawn through: several times the noise of bursts."""
