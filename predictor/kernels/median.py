"""The median, in place: Numba's own takes seconds to compile."""

from predictor.kernels.compiled import compiled
from predictor.types import FloatArray


@compiled
def median(values: FloatArray, scratch: FloatArray) -> float:
    """Give the median of at least one number; ``scratch`` is of the same length.

    >>> import numpy as np
    >>> median(np.array([3.0, 1.0, 2.0, 8.0]), np.empty(4))
    2.5
    """
    middle = len(values) // 2
    for place in range(len(values)):
        scratch[place] = values[place]
    sort_out(scratch, middle)
    upper = lower = scratch[middle]
    if len(values) % 2 == 0:
        lower = scratch[0]
        for place in range(1, middle):
            lower = max(lower, scratch[place])
    return float((lower + upper) / 2.0)


@compiled
def sort_out(values: FloatArray, middle: int) -> None:
    """Put the number that belongs there at ``middle``, none larger before, none smaller behind.

    Source: C. A. R. Hoare, Algorithm 65: Find (1961).
    """
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        up, down = low, high
        while up <= down:
            while values[up] < pivot:
                up += 1
            while values[down] > pivot:
                down -= 1
            if up <= down:
                values[up], values[down] = values[down], values[up]
                up += 1
                down -= 1
        if middle <= down:
            high = down
        elif middle >= up:
            low = up
        else:
            return
