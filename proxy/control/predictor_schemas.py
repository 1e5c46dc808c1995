"""Shapes of the predictor's own API; together they are its OpenAPI.

Seconds and fractions throughout; ``null`` is unknown. Names of numbers are those of the
feature table, of ``EndpointState`` and of ``EndpointLoad``: what is not one of them is
an error, what is left out is unknown.
"""

from collections.abc import Iterable
from dataclasses import fields
from typing import Annotated, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    WithJsonSchema,
    model_validator,
)

from predictor.features import NAMES
from predictor.types import EndpointLoad, EndpointState, Use

# What no feature is made from.
_NOT_TOLD: Final = {
    *("endpoint", "url", "model", "adapters", "hardware", "up", "draining"),
    *("aliases", "active_adapters", "max_adapters", "max_model_len", "root", "version"),
    *("moved_s", "still_since_s", "scraped_s", "role", "priority_class"),
}
STATE_NAMES: Final = (
    *(f.name for f in fields(EndpointState) if f.name not in _NOT_TOLD),
    "scrape_age_s",
)
LOAD_NAMES: Final = tuple(f.name for f in fields(EndpointLoad))
_FRACTIONS: Final = {"kv_cache_usage", "prefix_hit_ratio"}

# Beyond 1e8 tokens, requests or seconds something is broken.
Quantity = Annotated[float, Field(ge=0, le=1e8)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Hardware = Annotated[str, Field(min_length=1, max_length=64)]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


Numbers = dict[str, float | None]
_NO_SIZES: Final = "request is needed where an endpoint has no features"


def _check(numbers: Numbers, names: Iterable[str], what: str) -> Numbers:
    known = set(names)
    for name, value in numbers.items():
        if name not in known:
            msg = f"{name!r} is not a name of {what}; they are: {', '.join(names)}"
            raise ValueError(msg)
        if value is None:
            continue
        most = 1.0 if name in _FRACTIONS else 1e15 if name.endswith("_total") else 1e8  # runs on
        if not 0 <= value <= most:
            msg = f"{name} = {value:g} is not between 0 and {most:g}"
            raise ValueError(msg)
    return numbers


def _schema(names: Iterable[str]) -> WithJsonSchema:
    number = {"type": ["number", "null"], "minimum": 0}
    properties = dict.fromkeys(names, number)
    return WithJsonSchema(
        {"type": "object", "properties": properties, "additionalProperties": False}
    )


State = Annotated[
    Numbers,
    AfterValidator(lambda numbers: _check(numbers, STATE_NAMES, "an endpoint's state")),
    _schema(STATE_NAMES),
]
Load = Annotated[
    Numbers,
    AfterValidator(lambda numbers: _check(numbers, LOAD_NAMES, "a router's load")),
    _schema(LOAD_NAMES),
]
Features = Annotated[
    Numbers,
    AfterValidator(lambda numbers: _check(numbers, NAMES, "the feature table")),
    _schema(NAMES),
]


class RequestBody(_Body):
    """Sizes of one request."""

    prompt_tokens: Quantity
    max_tokens: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    expected_output_tokens: Quantity | None = Field(
        default=None, description="Mean output length expected; null is unknown"
    )
    streamed: bool = True


class ObjectiveBody(_Body):
    """Latency targets, each optional."""

    ttft_s: Annotated[float, Field(gt=0, le=86_400)] | None = None
    tpot_s: Annotated[float, Field(gt=0, le=3600)] | None = None


class EndpointBody(_Body):
    """One endpoint: described by state and load, or by its whole feature row."""

    endpoint: Name
    hardware: Hardware | None = None
    cached_tokens: Quantity = Field(
        default=0, description="Expected prefix-cache hit of this request there"
    )
    state: State = Field(default_factory=dict, description="What the endpoint says of itself")
    load: Load = Field(default_factory=dict, description="What this router has in flight there")
    features: Features | None = Field(
        default=None, description="The row itself, instead of all of the above"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.features is not None and (self.state or self.load or self.cached_tokens):
            msg = "give either features, or state, load and cached_tokens"
            raise ValueError(msg)
        return self


class PredictBody(_Body):
    """One request and the endpoints it could go to."""

    model: Name
    request: RequestBody | None = Field(
        default=None, description="Needed unless every endpoint has features"
    )
    # FailFast: errors of millions of wrong rows would take minutes and gigabytes to list.
    endpoints: Annotated[list[EndpointBody], FailFast()] = Field(min_length=1)
    objective: ObjectiveBody | None = None
    include_features: bool = Field(
        default=False, description="Give the rows back, to observe with them later"
    )

    @model_validator(mode="after")
    def _sizes_known(self) -> Self:
        if self.request is None and any(each.features is None for each in self.endpoints):
            raise ValueError(_NO_SIZES)
        return self


class TargetPrediction(_Answer):
    """What one target would be, in seconds."""

    expected_s: float
    p50_s: float
    p90_s: float
    p99_s: float


class EndpointPrediction(_Answer):
    """What the request would see at one endpoint."""

    endpoint: str
    ttft: TargetPrediction = Field(description="Dispatch to first token")
    tpot: TargetPrediction
    prefill_s: float = Field(description="Its own prefill: what it delays others by")
    decode_step_s: float = Field(description="What it adds to each decode step there")
    meets_objective: float | None = Field(description="Probability; null without objective")
    features: dict[str, float | None] | None = None


class PredictAnswer(_Answer):
    """Predictions in the order of the endpoints asked for."""

    model: str
    layer: Literal["cold", "prior", "mixture"] = Field(description="What the numbers rest on")
    version: str | None = Field(description="Trained model that took part")
    endpoints: list[EndpointPrediction]


class ObservedBody(EndpointBody):
    """What one finished request was like at dispatch, and what was then measured.

    Measurements are not bounded here: wrong ones are refused one by one, with a reason,
    and the rest of the batch counts.
    """

    # Of measurements NaN cannot come in JSON, and everything else is judged later.
    request: RequestBody | None = Field(default=None, description="Needed without features")
    observed_at_s: float | None = Field(default=None, description="Unix time; now by default")
    upstream_ttft_s: float | None = Field(default=None, description="Dispatch to first token")
    tpot_s: float | None = Field(default=None, description="Mean gap of output tokens")
    total_s: float | None = Field(default=None, description="Where only the whole is known")
    waited_s: float | None = Field(
        default=None,
        description="Wait for the first token when it passed the stated p90: alone, the miss"
        " counts at once; with upstream_ttft_s, it has been told before",
    )
    use: Use = Field(
        default="fully",
        description="Of a TPOT told early, and again with the whole answer: teaching, scoring",
    )
    output_tokens: Annotated[int, Field(ge=0, le=100_000_000)] | None = None

    @model_validator(mode="after")
    def _sizes_known(self) -> Self:
        if self.request is None and self.features is None:
            raise ValueError(_NO_SIZES)
        return self


class ObserveBody(_Body):
    """Observations of one model's fleet."""

    model: Name
    observations: Annotated[list[ObservedBody], FailFast()] = Field(min_length=1)


class ObserveAnswer(_Answer):
    """What became of a batch."""

    accepted: int = Field(description="Observations that teach at least one target")
    refused: dict[str, int] = Field(description="Labels and observations refused, by reason")


class FeatureView(_Answer):
    """One column of the feature table."""

    name: str
    unit: str
    source: str
    meaning: str
