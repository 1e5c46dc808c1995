"""The endpoints one request may go to, as arrays a policy can score.

Built once per decision by the scheduler; every policy reads the same object.
"""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import numpy as np

from predictor.features import COLUMN
from predictor.physics import TPOT, TTFT
from predictor.types import FloatArray, Predictions, RequestFeatures
from predictor.values import Value
from scheduler.endpoint_table import Rows

_INFLIGHT: Final = COLUMN["inflight_requests"]
_UNCACHED: Final = COLUMN["uncached_tokens"]
_QUEUED: Final = COLUMN["queued_prefill_tokens"]

Signal = Literal[
    "own_load", "predictions", "prefix_hashes", "prefix_matches", "scraped_load", "sessions"
]
"""What a policy may read beside the endpoints' names: our own accounting, what the predictor
says, the prompt's block hashes, which of them each endpoint holds, queues and KV usage as
scraped, conversations."""

Terms = Mapping[str, FloatArray]
"""The named parts a policy's cost is the sum of, each ``(n,)``; lower is better."""


class TermRows(Mapping[str, FloatArray]):
    """Hold the parts of a cost as rows of one array, the last row being their sum.

    Args:
        names: Of the parts.
        values: ``(len(names) + 1, n)``.

    >>> terms = TermRows(("own", "others"), np.array([[1.0, 2.0], [3.0, 3.0], [4.0, 5.0]]))
    >>> terms["others"].tolist(), total(terms).tolist(), len(terms)
    ([3.0, 3.0], [4.0, 5.0], 2)
    """

    __slots__ = ("_names", "rows")

    def __init__(self, names: tuple[str, ...], values: FloatArray) -> None:
        self._names = names
        self.rows = values

    def __getitem__(self, name: str) -> FloatArray:
        try:
            row: FloatArray = self.rows[self._names.index(name)]
        except ValueError:
            raise KeyError(name) from None
        return row

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def total(terms: Terms) -> FloatArray:
    """Sum the parts of a cost, ``(n,)``."""
    if type(terms) is TermRows:  # ``isinstance`` of an abstract class costs more than the sum
        costs: FloatArray = terms.rows[-1]
        return costs
    values = iter(terms.values())
    costs = next(values)
    for term in values:
        costs = costs + term
    return costs


class Candidates(Value):
    """Hold what is known of ``n`` endpoints for one request.

    Attributes:
        request: The request to place.
        names: The endpoints, ``n`` of them.
        rows: ``(n,)`` where each is in what the table has of all.
        all_turns: Sequence numbers of our last dispatches, 0 for none, by these rows.
        features: ``(n, n_features)`` matrix of ``predictor.features``.
        matched_tokens: ``(n,)`` prompt tokens believed cached in any tier, before
            effectiveness.
        prompt_tokens: Length of the prompt.
        expected_output_tokens: Mean output length expected.
        predictions: ``None`` when the predictor could not be asked.
        draw: ``(n,)`` uniform random numbers in [0, 1), for policies that gamble.
        leanings: ``(2, n)`` factors that correct, of TTFT and TPOT, what each is ranked by.
        preference: ``(n,)`` how much the request would rather go to each, all else equal;
            ``None`` for all the same.
    """

    request: RequestFeatures
    names: tuple[str, ...]
    rows: Rows
    all_turns: FloatArray
    features: FloatArray
    matched_tokens: FloatArray
    prompt_tokens: float
    expected_output_tokens: float
    predictions: Predictions | None
    draw: FloatArray
    leanings: FloatArray | None = None
    preference: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def turns(self) -> FloatArray:
        """Give the sequence number of our last dispatch to each, 0 for none, ``(n,)``."""
        return self.all_turns.take(self.rows)

    def feature(self, name: str) -> FloatArray:
        """Give one feature column, ``(n,)``."""
        column: FloatArray = self.features[:, COLUMN[name]]
        return column

    @property
    def matched_ratio(self) -> FloatArray:
        """Give the share of the prompt believed on the GPU of each, 0 to 1, ``(n,)``.

        What storage shares is no reason to stick to anyone.
        """
        ratio: FloatArray = self.feature("matched_gpu_tokens") / max(self.prompt_tokens, 1.0)
        return ratio

    @property
    def inflight(self) -> FloatArray:
        """Give our own in-flight requests, ``(n,)``."""
        column: FloatArray = self.features[:, _INFLIGHT]
        return column

    @property
    def uncached_tokens(self) -> FloatArray:
        """Give the tokens this request would have to prefill at each, ``(n,)``."""
        column: FloatArray = self.features[:, _UNCACHED]
        return column

    @property
    def queued_tokens(self) -> FloatArray:
        """Give the uncached tokens already waiting for prefill at each, ``(n,)``."""
        column: FloatArray = self.features[:, _QUEUED]
        return column

    def waiting(self) -> FloatArray:
        """Give the scraped queue; unknown counts as our own requests without a token."""
        scraped = self.feature("waiting_requests")
        return np.where(np.isnan(scraped), self.feature("queued_requests"), scraped)

    def kv_usage(self) -> FloatArray:
        """Give the scraped KV usage; unknown counts as the mean of the known, else 0."""
        usage = self.feature("kv_cache_usage")
        known = usage[~np.isnan(usage)]
        fill = float(known.mean()) if known.size else 0.0
        return np.where(np.isnan(usage), fill, usage)

    def prefill_token_s(self) -> FloatArray:
        """Give predicted seconds per prefill token; without predictions all count as 1."""
        if self.predictions is None:
            return np.ones(len(self))
        return self._leant(self.predictions.prefill_token_s, TTFT)

    def rank_s(self, predicted: Predictions) -> tuple[FloatArray, FloatArray]:
        """Give the TTFT and TPOT to rank by, ``(n,)`` each."""
        return self._leant(predicted.rank_ttft_s, TTFT), self._leant(predicted.rank_tpot_s, TPOT)

    def prefill_s(self, predicted: Predictions) -> FloatArray:
        """Give the seconds of the request's own prefill at each."""
        return self._leant(predicted.prefill_s, TTFT)

    def decode_step_s(self, predicted: Predictions) -> FloatArray:
        """Give what one more sequence of its size adds to each step."""
        return self._leant(predicted.decode_step_s, TPOT)

    def _leant(self, seconds: FloatArray, target: int) -> FloatArray:
        if self.leanings is None:
            return seconds
        corrected: FloatArray = seconds * self.leanings[target]
        return corrected
