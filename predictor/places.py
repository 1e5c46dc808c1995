"""Coefficients of every endpoint asked about, one row each, for kernels to read.

A decision must not gather a hundred endpoints' coefficients anew: each has a place here,
which is written again once its fit, or the fleet's, has changed. Candidates are mostly
those of the last decision, and then there is nothing to look up. Called by
:class:`predictor.physics.PhysicsPrior`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from predictor.coefficients import TargetPhysics
from predictor.kernels.physics import OWN, SMOOTH, UNIT
from predictor.terms import N_DESIGN, PARTS
from predictor.types import FloatArray

Places = NDArray[np.intp]

_FIRST: Final = 16
_MOST: Final = 4096  # then all is looked up anew: whoever asks about strangers names them


class CoefficientPlaces:
    """Hold the coefficients of both targets by endpoint and hardware label.

    Attributes:
        coefficients: ``(n_places, 3, N_DESIGN)``: own, smooth and day-0 units.

    >>> from predictor.settings import PhysicsSettings
    >>> from predictor.coefficients import TargetFit
    >>> from predictor.terms import tpot_day_zero, ttft_day_zero
    >>> known = (TargetPhysics(ttft_day_zero, PhysicsSettings(), TargetFit()),
    ...     TargetPhysics(tpot_day_zero, PhysicsSettings(), TargetFit()))
    >>> CoefficientPlaces(known).of(["a:1", "b:1", "a:1"], [None] * 3)
    array([0, 1, 0])
    """

    def __init__(self, targets: tuple[TargetPhysics, TargetPhysics]) -> None:
        self._targets = targets
        self._endpoints: Sequence[str] = ()
        self._hardware: Sequence[str | None] = ()
        self._version = -1
        self._places = np.empty(0, dtype=np.intp)
        self._place_of: dict[tuple[str, str | None], int] = {}
        self._stamps: list[tuple[int, ...]] = []
        self.coefficients: FloatArray = np.empty((_FIRST, 3, N_DESIGN))

    def of(self, endpoints: Sequence[str], hardware: Sequence[str | None]) -> Places:
        """Give the places, ``(n,)``, of endpoints, up to date."""
        version = self._targets[0].version + self._targets[1].version  # neither ever falls
        if (
            version != self._version
            or (endpoints is not self._endpoints and tuple(endpoints) != self._endpoints)
            or (hardware is not self._hardware and tuple(hardware) != self._hardware)
        ):
            self._look_up(tuple(endpoints), tuple(hardware))
            self._version = version
        return self._places

    def _look_up(self, endpoints: tuple[str, ...], hardware: tuple[str | None, ...]) -> None:
        if len(self._stamps) > _MOST:
            self._place_of.clear()
            self._stamps.clear()
        self._places = np.fromiter(map(self._place, endpoints, hardware), np.intp, len(endpoints))
        self._endpoints, self._hardware = endpoints, hardware

    def _place(self, endpoint: str, hardware: str | None) -> int:
        place = self._place_of.get((endpoint, hardware))
        if place is None:
            place = self._place_of[endpoint, hardware] = len(self._stamps)
            self._stamps.append(())
            if place == len(self.coefficients):
                self.coefficients = np.concatenate([self.coefficients] * 2)
        stamps = tuple([target.stamp(endpoint) for target in self._targets])
        if stamps != self._stamps[place]:
            self._stamps[place] = stamps
            for target, part in zip(self._targets, PARTS, strict=True):
                own, smooth, unit = target.coefficients(endpoint, hardware)
                here = self.coefficients[place, :, part]
                here[OWN], here[SMOOTH], here[UNIT] = own, smooth, unit
        return place
