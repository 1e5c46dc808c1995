"""The noise of step times: log-normal, with rare stalls.

Factors are drawn ahead and consumed one per step, so that a stretch of steps can be
looked at before it is taken and comes out the same however it is cut.
"""

from copy import deepcopy
from random import Random
from typing import Final

import numpy as np

DRAWN_AT_ONCE: Final = 4096


class StepNoise:
    """Give the factor of each coming step; its mean is a little above 1.

    Args:
        sigma: Sigma of the log-normal factor.
        stall_share: Fraction of steps that stall.
        stall_factor: What a stalled step is multiplied with.
        rng: Seeds it.
    """

    __slots__ = ("_factors", "_rng", "_sigma", "_stall_factor", "_stall_share", "_taken")

    def __init__(
        self, *, sigma: float, stall_share: float, stall_factor: float, rng: Random
    ) -> None:
        self._sigma = sigma
        self._stall_share = stall_share
        self._stall_factor = stall_factor
        self._rng = np.random.default_rng(rng.getrandbits(64))
        self._factors: list[float] = []
        self._taken = 0

    def renew(self, rng: Random) -> None:
        """Draw all factors to come anew."""
        self._rng = np.random.default_rng(rng.getrandbits(64))
        self._factors, self._taken = [], 0

    def coming(self, steps: int) -> list[float]:
        """Look at the factors of the coming steps without taking them."""
        while len(self._factors) - self._taken < steps:
            self._draw()
        return self._factors[self._taken : self._taken + steps]

    def take(self, steps: int) -> None:
        """Note that as many steps have been taken."""
        self._taken += steps

    def _draw(self) -> None:
        factors = np.exp(self._sigma * self._rng.standard_normal(DRAWN_AT_ONCE))
        factors[self._rng.random(DRAWN_AT_ONCE) < self._stall_share] *= self._stall_factor
        self._factors = self._factors[self._taken :] + factors.tolist()
        self._taken = 0

    def __deepcopy__(self, memo: dict[int, object]) -> "StepNoise":
        """Give one that draws the same from here on."""
        memo[id(self)] = copy = StepNoise(
            sigma=self._sigma,
            stall_share=self._stall_share,
            stall_factor=self._stall_factor,
            rng=Random(0),
        )
        copy._rng, copy._taken = deepcopy(self._rng), self._taken
        copy._factors = list(self._factors)
        return copy
