"""The endpoints one request may go to, as arrays a policy can score.

Built once per decision by the scheduler; every policy reads the same object.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from predictor.features import COLUMN
from predictor.types import FloatArray, Predictions, RequestFeatures

Signal = Literal[
    "own_load", "predictions", "prefix_hashes", "prefix_matches", "scraped_load", "sessions"
]
"""What a policy may read beside the endpoints' names: our own accounting, what the predictor
says, the prompt's block hashes, which of them each endpoint holds, queues and KV usage as
scraped, conversations."""

Terms = dict[str, FloatArray]
"""The named parts a policy's cost is the sum of, each ``(n,)``; lower is better."""


def total(terms: Terms) -> FloatArray:
    """Sum the parts of a cost, ``(n,)``."""
    first, *others = terms.values()
    costs = first
    for term in others:
        costs = costs + term
    return costs


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Hold what is known of ``n`` endpoints for one request.

    Attributes:
        request: The request to place.
        names: The endpoints, ``n`` of them.
        turns: ``(n,)`` sequence number of our last dispatch to each, 0 for none.
        features: ``(n, n_features)`` matrix of ``predictor.features``.
        matched_tokens: ``(n,)`` prompt tokens believed cached in any tier, before
            effectiveness.
        prompt_tokens: Length of the prompt.
        expected_output_tokens: Mean output length expected.
        predictions: ``None`` when the predictor could not be asked.
        draw: ``(n,)`` uniform random numbers in [0, 1), for policies that gamble.
        preference: ``(n,)`` how much the request would rather go to each, all else equal;
            ``None`` for all the same.
    """

    request: RequestFeatures
    names: tuple[str, ...]
    turns: FloatArray
    features: FloatArray
    matched_tokens: FloatArray
    prompt_tokens: float
    expected_output_tokens: float
    predictions: Predictions | None
    draw: FloatArray
    preference: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.names)

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
        return self.feature("inflight_requests")

    @property
    def uncached_tokens(self) -> FloatArray:
        """Give the tokens this request would have to prefill at each, ``(n,)``."""
        return self.feature("uncached_tokens")

    @property
    def queued_tokens(self) -> FloatArray:
        """Give the uncached tokens already waiting for prefill at each, ``(n,)``."""
        return self.feature("queued_prefill_tokens")

    def seats_left(self) -> FloatArray:
        """Give how many more requests the batch takes, below 0 for a queue; unknown: infinite."""
        seats = self.feature("max_seqs")
        return np.where(np.isnan(seats), np.inf, seats - self.inflight)

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
        return self.predictions.prefill_token_s
