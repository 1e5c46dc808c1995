"""Policies that look at load: whose turn it is, requests in flight, tokens to prefill.

None of them is drawn to an endpoint for what it holds, though the token counts leave
out what an endpoint has cached. Built by :mod:`scheduler.policies`; none has settings.
"""

from typing import ClassVar

import numpy as np

from scheduler.candidates import Candidates, Signal, Terms
from scheduler.kernels import tokens_x_batch


class RoundRobin:
    """Pick the endpoint dispatched to longest ago.

    Equal to a rotating index on a fixed set, and fair when endpoints come and go.
    Reads our own dispatch numbers only.
    """

    name: ClassVar[str] = "round_robin"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give the sequence number of each endpoint's last dispatch."""
        return {"turn": candidates.turns}


class Random:
    """Pick uniformly at random. Reads nothing."""

    name: ClassVar[str] = "random"
    needs: ClassVar[frozenset[Signal]] = frozenset()

    def terms(self, candidates: Candidates) -> Terms:
        """Give each endpoint's random draw."""
        return {"draw": candidates.draw}


class LeastRequest:
    """Pick the endpoint with the fewest requests in flight, by our own count.

    Source: llm-d-router's ``active-request-scorer`` ranks alike (2026-08); Envoy's and
    the Rust routers' least-request do, over all endpoints instead of two.
    """

    name: ClassVar[str] = "least_request"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give requests in flight."""
        return {"inflight": candidates.inflight}


class PowerOfTwo:
    """Pick the less loaded of two endpoints drawn at random.

    Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001.
    """

    name: ClassVar[str] = "power_of_two"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give requests in flight for the two drawn, and more than any for the rest."""
        inflight = candidates.inflight
        costs = np.full(len(candidates), float(inflight.max(initial=0.0)) + 1.0)
        drawn = np.argsort(candidates.draw)[:2]
        costs[drawn] = inflight[drawn]
        return {"inflight": costs}


class TokenLoad:
    """Pick the endpoint with the fewest tokens in flight once this request is there.

    Tokens are uncached prompt tokens waiting plus context tokens held, so it balances
    memory as well as prefill: what llm-d-router's ``token-load-scorer`` is after where
    its ``addEstimatedOutputTokens`` is on. With that scorer's default accounting, a
    request's tokens leave the count at its first token: see :class:`QueuedTokens`.
    """

    name: ClassVar[str] = "token_load"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give tokens in flight including this request's uncached ones."""
        return {
            "queued_tokens": candidates.queued_tokens,
            "own_tokens": candidates.uncached_tokens,
            "held_tokens": candidates.feature("context_ktok") * 1e3,
        }


class QueuedTokens:
    """Pick the endpoint with the fewest uncached tokens ahead of the first token.

    What a prefill-bound fleet wants: queued plus own tokens over one prefill rate.
    Source: llm-d-router, ``token-load-scorer`` over ``inflight-load-producer`` as they
    come (2026-08): uncached prompt tokens in flight, let go at the first token, plus
    this request's own.
    """

    name: ClassVar[str] = "queued_tokens"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give queued plus own uncached tokens."""
        return {
            "queued_tokens": candidates.queued_tokens,
            "own_tokens": candidates.uncached_tokens,
        }


class QueuedTokensSpeed:
    """Pick the shortest time to prefill what is queued and this request, by known speeds.

    :class:`QueuedTokens` times each endpoint's predicted seconds per prefill token.
    Without predictions the speeds count as equal, which leaves ``queued_tokens``.
    """

    name: ClassVar[str] = "queued_tokens_speed"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "predictions", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give queued plus own prefill, in seconds where predictions exist."""
        speed = candidates.prefill_token_s()
        return {
            "queued_prefill": candidates.queued_tokens * speed,
            "own_prefill": candidates.uncached_tokens * speed,
        }


class Lmetric:
    """Pick the lowest product of tokens to prefill and batch size.

    Source: LMETRIC, arXiv 2603.15202: new prefill tokens x batch size, no tuning. The
    tokens queued ahead count as well; one token more keeps a full cache hit from hiding
    the batch.
    """

    name: ClassVar[str] = "lmetric"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give (queued + own uncached tokens) x (requests in flight + 1)."""
        products = np.empty(len(candidates.names))
        tokens_x_batch(candidates.features, products)
        return {"tokens_x_batch": products}


class LmetricOwn:
    """Pick the lowest product of this request's own uncached tokens and batch size.

    :class:`Lmetric` by the letter of its paper, as llm-d-router's ``lmetric-scorer``
    (PR 2351) has it: what is queued ahead counts only as a member of the batch.
    """

    name: ClassVar[str] = "lmetric_own"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give own uncached tokens x (requests in flight + 1)."""
        tokens = candidates.uncached_tokens + 1.0
        return {"own_tokens_x_batch": tokens * (candidates.inflight + 1.0)}


class LmetricSpeed:
    """Pick the lowest product of prefill time and batch size, by known speeds.

    :class:`Lmetric` times each endpoint's predicted seconds per prefill token. Without
    predictions the speeds count as equal, which leaves ``lmetric``.
    """

    name: ClassVar[str] = "lmetric_speed"
    needs: ClassVar[frozenset[Signal]] = frozenset({"own_load", "predictions", "prefix_matches"})

    def terms(self, candidates: Candidates) -> Terms:
        """Give the product, in seconds x requests where predictions exist."""
        plain = Lmetric().terms(candidates)["tokens_x_batch"]
        return {"prefill_x_batch": plain * candidates.prefill_token_s()}
