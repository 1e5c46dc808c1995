"""What requests of a fleet are like on average, and what an endpoint takes of them.

Seen whenever somebody asks for an outlook, and remembered while nothing is sent. Written
and read by :mod:`scheduler.outlook`.
"""

import math
from typing import Final, NamedTuple

from predictor.features import COLUMN
from predictor.types import FloatArray

# Below one request in some minutes there is no telling what requests are like.
_LEAST_PER_S: Final = 1e-2
_KEEP: Final = 0.8  # of what was known of them, at each look: some looks make a new mix


class Mix(NamedTuple):
    """Say what requests of a fleet are like, on average.

    Attributes:
        uncached_tokens: Prompt tokens that an endpoint has to compute.
        context_tokens: Tokens that one holds in the KV cache while it decodes.
        output_tokens: Length of the answer.
    """

    uncached_tokens: float
    context_tokens: float
    output_tokens: float


class Knowledge:
    """Remember of one fleet what requests are like, and what an endpoint takes of them."""

    def __init__(self) -> None:
        self.mix: Mix | None = None
        self.endpoint_per_s = math.nan

    def see(self, rows: FloatArray, output_tokens: float) -> None:
        """Look at what is in flight at ``n`` endpoints, ``(n, n_features)``."""
        sent_per_s = float(rows[:, COLUMN["dispatches_per_s"]].sum())
        decoding = float(rows[:, COLUMN["decoding_requests"]].sum())
        if sent_per_s < _LEAST_PER_S:
            return
        uncached = float(rows[:, COLUMN["prefill_tokens_per_s"]].sum()) / sent_per_s
        context = uncached + output_tokens / 2
        if decoding > 0.0:
            context = 1e3 * float(rows[:, COLUMN["context_ktok"]].sum()) / decoding
        seen = Mix(uncached, context, output_tokens)
        if self.mix is None:
            self.mix = seen
        pairs = zip(self.mix, seen, strict=True)
        self.mix = Mix(*(_KEEP * before + (1.0 - _KEEP) * value for before, value in pairs))
