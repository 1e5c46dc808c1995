"""One row of the table: what real vLLM did, what the simulator does, and how far off is fine."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Compare one quantity; values are in ``unit``, one simulated value per seed.

    Attributes:
        data: Data set it comes from.
        quantity: What is compared.
        real: As recorded; ``None`` where nothing was.
        simulated: One per seed.
        limit: Largest deviation allowed: a fraction of ``real``, or in ``unit`` where
            ``absolute``; ``None`` shows the row and judges nothing.
        unit: Of the values.
        absolute: Whether the deviation is a difference.
        note: What one has to know to read it.
    """

    data: str
    quantity: str
    real: float | None
    simulated: Sequence[float]
    limit: float | None
    unit: str = "s"
    absolute: bool = False
    note: str = ""

    @property
    def deviations(self) -> list[float]:
        """Give each seed's deviation, signed, as the limit counts it; none without a record."""
        if self.real is None:
            return []
        if self.absolute:
            return [value - self.real for value in self.simulated]
        return [value / self.real - 1 for value in self.simulated]

    @property
    def deviation(self) -> float | None:
        """Give the middle one."""
        return median(self.deviations) if self.deviations else None

    @property
    def passes(self) -> bool | None:
        """Tell whether every seed keeps the limit, ``None`` without one.

        >>> row = Row(data="d", quantity="q", real=2.0, simulated=[2.1, 2.3], limit=0.1)
        >>> [round(deviation, 2) for deviation in row.deviations], row.passes
        ([0.05, 0.15], False)
        """
        if self.limit is None:
            return None
        return all(abs(deviation) <= self.limit for deviation in self.deviations)
