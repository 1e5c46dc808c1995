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


# What was proved is forgotten by 1/e in so long, or once requests differ by this log ratio:
# it is there for the hours in which overload makes predictions of less load too dark.
_PROVED_TAU_S: Final = 7200.0
_SAME_MIX: Final = 0.25


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
    """Remember of one fleet what requests are like, and what an endpoint takes of them.

    Attributes:
        mix: ``None`` before there were requests.
        endpoint_per_s: Requests a second that an endpoint takes within the objective; NaN
            for unknown.
    """

    def __init__(self) -> None:
        self.mix: Mix | None = None
        self.endpoint_per_s = math.nan
        self._proved_per_s = 0.0
        self._proved_s = -math.inf
        self._proved_of: Mix | None = None

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

    def judge(
        self, predicted_per_s: float, sent_per_s: float, *, met: bool, busy: bool, now: float
    ) -> None:
        """Settle what an endpoint takes, by what it is predicted to and by what it does.

        Args:
            predicted_per_s: Within the objective, by the predictor.
            sent_per_s: That it gets at present.
            met: Whether they are likely to have the objective at present.
            busy: Whether there are several at each endpoint at a time.
            now: Clock in seconds.
        """
        proved = self._proved(now)
        if met and sent_per_s > proved:
            self._proved_per_s, self._proved_s, self._proved_of = sent_per_s, now, self.mix
            proved = sent_per_s
        if not met:  # whatever is predicted of more, so many are too many
            predicted_per_s = min(predicted_per_s, sent_per_s)
            if busy:  # overload makes predictions of less load too dark: doubling has to do
                predicted_per_s = max(predicted_per_s, sent_per_s / 2)
        self.endpoint_per_s = max(predicted_per_s, proved)

    def _proved(self, now: float) -> float:
        """Give what an endpoint has been seen to take of requests like the present ones."""
        if self.mix is None or self._proved_of is None:
            return 0.0
        if any(map(_differ, self.mix, self._proved_of)):
            return 0.0
        return self._proved_per_s * math.exp(min(self._proved_s - now, 0.0) / _PROVED_TAU_S)


def _differ(one: float, other: float) -> bool:
    """Say whether two lengths are no longer about the same; none counts as one token.

    >>> _differ(100.0, 120.0), _differ(100.0, 150.0), _differ(0.0, 0.0), _differ(0.0, 9.0)
    (False, True, False, True)
    """
    return abs(math.log(max(one, 1.0) / max(other, 1.0))) > _SAME_MIX
