"""What can go wrong with a simulated endpoint, and when: data, acted on by the driver."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_At = Annotated[float, Field(ge=0.0, le=1e9)]
_Until = Annotated[float, Field(gt=0.0, le=1e9)]


class _Fault(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    at_s: _At
    """When it begins, in seconds of the run."""

    @property
    def ends_s(self) -> float | None:
        """Tell when it is over, ``None`` for never."""
        return self.at_s

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.ends_s is not None and self.ends_s < self.at_s:
            raise ValueError(f"ends at {self.ends_s:g} s, before it begins at {self.at_s:g} s")
        return self


class SlowDown(_Fault):
    """Every step takes ``factor`` times as long; ``until_s`` unset is to the end."""

    kind: Literal["slow_down"] = "slow_down"
    factor: float = Field(gt=0.0, le=1000.0)
    until_s: _Until | None = None

    @property
    def ends_s(self) -> float | None:
        """Tell when it is over, ``None`` for never."""
        return self.until_s


class Hang(_Fault):
    """The endpoint takes requests in and computes nothing."""

    kind: Literal["hang"] = "hang"
    until_s: _Until

    @property
    def ends_s(self) -> float | None:
        """Tell when it is over."""
        return self.until_s


class Crash(_Fault):
    """Every request on the endpoint is lost, and its cache; ``back_s`` unset is for good."""

    kind: Literal["crash"] = "crash"
    back_s: _Until | None = None

    @property
    def ends_s(self) -> float | None:
        """Tell when it is over, ``None`` for never."""
        return self.back_s


class Flush(_Fault):
    """The prefix cache forgets all that no request holds."""

    kind: Literal["flush"] = "flush"


class Replace(_Fault):
    """Other hardware serves under the endpoint's name from then on; all that was there is lost."""

    kind: Literal["replace"] = "replace"
    profile: str
    """Of the hardware that takes its place: of the same model."""


Fault = Annotated[SlowDown | Hang | Crash | Flush | Replace, Field(discriminator="kind")]
