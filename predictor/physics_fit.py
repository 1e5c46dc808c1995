"""What physics has learned, as plain numbers: the part of a snapshot that is physics."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointFit:
    """Hold what is known of one endpoint: label, log speed factor, own coefficients."""

    hardware: str | None
    log_scale: float
    own: tuple[float, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFit:
    """Hold one target's fit as plain numbers.

    Attributes:
        factor: Fleet coefficients as multiples of the day-0 units, ``None`` before a fit.
        classes: Mean log speed factor by hardware label, ``""`` for none.
        endpoints: By endpoint.
    """

    factor: tuple[float, ...] | None = None
    classes: dict[str, float] = field(default_factory=dict)
    endpoints: dict[str, EndpointFit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class PhysicsFit:
    """Hold the whole prior as plain numbers: the part of a snapshot that is physics."""

    ttft: TargetFit = field(default_factory=TargetFit)
    tpot: TargetFit = field(default_factory=TargetFit)
