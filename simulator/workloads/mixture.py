"""Several kinds of traffic at once, each with its own service tier, in an open loop.

Decides what share of the requests is of which part, and keeps the parts apart: their
seeds, contents, sessions and tenants have nothing in common. The parts are described
where the workload is, so that a file says all of it.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from simulator.traffic import Chain, TrafficRequest
from simulator.workloads.block_ids import named_id
from simulator.workloads.conversations import Conversations
from simulator.workloads.shared_prefix import SharedPrefix


class Part(BaseModel):
    """Describe one kind of traffic within a mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=64)
    weight: float = Field(gt=0.0, le=1e6)
    """Its requests are this, over the sum of all weights, of all requests."""
    tier: str | None = Field(default=None, min_length=1, max_length=64)
    """Service tier its requests ask for; ``None`` is the default one."""
    traffic: Annotated[SharedPrefix | Conversations, Field(discriminator="kind")]


class Mixture(BaseModel):
    """Configure the parts."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["mixture"]
    parts: tuple[Part, ...] = Field(min_length=1, max_length=100)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({part.name for part in self.parts}) < len(self.parts):
            raise ValueError("two parts have the same name")
        return self

    @property
    def loop(self) -> Literal["open", "closed"]:
        """Tell that every request has its time."""
        return "open"

    @property
    def most_tokens(self) -> int:
        """Bound prompt and output of any request."""
        return max(part.traffic.most_tokens for part in self.parts)

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic; ``rate`` is in requests per second, of all parts together."""
        weights = sum(part.weight for part in self.parts)
        return [
            _of(part, chain)
            for number, part in enumerate(self.parts)
            for chain in part.traffic.chains(
                # A part alone would draw what it draws here with another seed.
                seed=seed * len(self.parts) + number,
                rate=rate * part.weight / weights,
                until_s=until_s,
            )
        ]


def _of(part: Part, chain: Chain) -> Iterator[TrafficRequest]:
    for request in chain:
        yield replace(
            request,
            session_id=f"{part.name}/{request.session_id}",
            tenant=part.name if request.tenant is None else f"{part.name}/{request.tenant}",
            tier=part.tier,
            segments=tuple((named_id(part.name, name), size) for name, size in request.segments),
            answer_id=named_id(part.name, request.answer_id),
        )
