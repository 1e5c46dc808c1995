"""Distributions of token counts that a workload file can name.

Decides how a mean, a spread and bounds become draws. A normal is drawn and then
clipped, as inference-perf does, so bounds near the mean move it; a log-normal is
shifted so that its mean *after* clipping is the one stated. Called by generators.
"""

import math
from functools import cached_property
from random import Random
from statistics import NormalDist
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_TOKENS: Final = 10_000_000
"""Longest prompt or output that is taken for real; the longest contexts on offer."""

_STANDARD: Final = NormalDist()


class Lengths(BaseModel):
    """Describe a distribution of whole numbers of tokens.

    With ``sd = 0`` every draw is the mean. ``sd`` of a log-normal is that of the unbounded
    distribution of the same mean: it sets the shape, and bounds take from it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    shape: Literal["normal", "lognormal"] = "normal"
    mean: float = Field(ge=1, le=MOST_TOKENS)
    sd: float = Field(default=0.0, ge=0.0, le=MOST_TOKENS)
    min: int = Field(default=1, ge=1, le=MOST_TOKENS)
    max: int = Field(default=131_072, ge=1, le=MOST_TOKENS)

    @model_validator(mode="after")
    def _bounds_hold_the_mean(self) -> Self:
        if not self.min <= self.mean <= self.max:
            raise ValueError(f"mean {self.mean:g} is not within {self.min} and {self.max}")
        if self.shape == "lognormal" and self.sd > 0 and not self.min < self.mean < self.max:
            raise ValueError("the mean of a log-normal lies strictly between its bounds")
        return self

    def draw(self, rng: Random) -> int:
        """Draw one length.

        >>> question = Lengths(shape="lognormal", mean=700, sd=500, max=4000)
        >>> rng = Random(1)
        >>> [question.draw(rng) for _ in range(4)]
        [1304, 1447, 595, 349]
        """
        if self.sd == 0:
            return round(self.mean)
        if self.shape == "lognormal":
            drawn = math.exp(rng.gauss(self._mu, self._sigma))
        else:
            drawn = rng.gauss(self.mean, self.sd)
        return round(min(max(drawn, self.min), self.max))

    @cached_property
    def _sigma(self) -> float:
        return math.sqrt(math.log1p((self.sd / self.mean) ** 2))

    @cached_property
    def _mu(self) -> float:
        """Find by bisection where the clipped log-normal has the mean stated."""
        low, high = math.log(self.min) - 40 * self._sigma, math.log(self.max) + 40 * self._sigma
        for _ in range(100):
            middle = (low + high) / 2
            if self._clipped_mean(middle) < self.mean:
                low = middle
            else:
                high = middle
        return low

    def _clipped_mean(self, mu: float) -> float:
        sigma = self._sigma
        below, above = ((math.log(bound) - mu) / sigma for bound in (self.min, self.max))
        within = _STANDARD.cdf(above - sigma) - _STANDARD.cdf(below - sigma)
        # The lower bound's mass times the bound, the body's mean, the upper bound's mass.
        body = math.exp(mu + sigma**2 / 2) * within if within > 0 else 0.0
        return self.min * _STANDARD.cdf(below) + body + self.max * _STANDARD.cdf(-above)
