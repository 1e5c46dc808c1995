"""Ideal physics: a predictor that knows the simulated endpoints' true step times.

A reference, never the predictor under test: it evaluates the very function the engine
advances by. What it does not know is what no router knows: how long answers get, what
is cached for certain, what other routers send, noise and faults to come. It sees the
same feature rows as every other predictor. Made by the arms that may know the truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.special import ndtr

from foretoken.simulation.ideal_steps import StepArrays
from predictor.features import COLUMN
from predictor.types import FloatArray, Objective, Observation, Predictions
from simulator.fleets import FleetSpec
from simulator.profiles import Profile
from simulator.settings import EngineSettings

# Spread of log(actual / predicted) TTFT: a policy study with known step times saw a median
# absolute error of 0.09, which is what a normal of this sigma has.
LOG_SIGMA: Final = 0.13
_QUANTILES: Final = np.exp(np.array([0.0, 1.2816, 2.3263]) * LOG_SIGMA)
# Requests after which an older one counts 1/e in what queued prompts are taken to be like.
_MEMORY_REQUESTS: Final = 500.0

_PROMPT: Final = COLUMN["prompt_tokens"]
_UNCACHED: Final = COLUMN["uncached_tokens"]
_SQUARES: Final = COLUMN["prefill_context"]
_OUTPUT: Final = COLUMN["expected_output_tokens"]
_USAGE: Final = COLUMN["kv_cache_usage"]
_INFLIGHT: Final = COLUMN["inflight_requests"]
_QUEUED: Final = COLUMN["queued_requests"]
_QUEUED_TOKENS: Final = COLUMN["queued_prefill_tokens"]
_DECODING: Final = COLUMN["decoding_requests"]
_CONTEXT: Final = COLUMN["context_ktok"]
_PREFILL_RATE: Final = COLUMN["prefill_tokens_per_s"]
_OLDEST: Final = COLUMN["oldest_queued_s"]
_FROM_CPU: Final = COLUMN["loaded_cpu_tokens"]
_FROM_SHARED: Final = COLUMN["loaded_shared_tokens"]


@dataclass(slots=True)
class _Prompts:
    """What prompts have been like: rows do not tell what those queued consist of."""

    seen: float = 0.0
    uncached_tokens: float = 0.0
    squares: float = 0.0
    held_tokens: float = 0.0

    def add(self, row: FloatArray) -> None:
        """Take in the row of a request that was dispatched."""
        keep = 1.0 - 1.0 / _MEMORY_REQUESTS
        self.seen = self.seen * keep + 1.0
        self.uncached_tokens = self.uncached_tokens * keep + float(row[_UNCACHED])
        self.squares = self.squares * keep + float(row[_SQUARES])
        self.held_tokens = self.held_tokens * keep + float(row[_PROMPT] + row[_OUTPUT] / 2)


class IdealPhysics:
    """Predict by the true step-time function from our own accounting.

    Reads prompt, queued, decoding and context features and the scraped KV usage, whose
    absence counts as room enough. Returns seconds, in :class:`Predictions`:

    - TTFT: constants, the time to load what tiers behind the GPU hold, the step under way
      and the one behind it, then the queued uncached tokens and the request's own through
      the step-time curve in chunks of the token budget while everyone decodes along; no
      less than the wait for a seat in the batch or for KV blocks plus the own prefill,
      when either is taken.
    - TPOT: a decode step with everyone who decodes, those queued, and the request.
    - ``prefill_s``: what the own chunks add to steps that would only decode.
    - ``decode_step_s``: what one more such sequence adds to that step.
    - ``prefill_token_s``: full steps of prefill alone, per token: the same at all times.

    Of queued requests a row tells the tokens alone; that they resemble the requests
    dispatched so far is the one thing it learns.

    Args:
        endpoints: Profile and engine settings by endpoint name.
        network_delay_s: One way between router and endpoints.
        shared_load_s_per_token: Seconds to bring a token's KV from storage they share.

    Source: the score's inputs in the policy study (docs/decisions/scoring.md);
    :meth:`simulator.profiles.Profile.step_s`.
    """

    def __init__(
        self,
        endpoints: Mapping[str, tuple[Profile, EngineSettings]],
        *,
        network_delay_s: float = 0.0,
        shared_load_s_per_token: float = 0.0,
    ) -> None:
        self._endpoints = dict(endpoints)
        self._way_s = 2.0 * network_delay_s
        self._shared_load_s = shared_load_s_per_token
        self._prompts = _Prompts()
        self._candidates: tuple[str, ...] = tuple(self._endpoints)
        self._steps = StepArrays.of(list(self._endpoints.values()))

    @classmethod
    def of(cls, fleet: FleetSpec) -> "IdealPhysics":
        """Know a simulated fleet."""
        return cls(
            {spec.name: (spec.profile, spec.engine) for spec in fleet.endpoints},
            network_delay_s=fleet.network_delay_s,
            shared_load_s_per_token=fleet.shared_tier.load_s_per_token
            if fleet.shared_tier
            else 0.0,
        )

    def predict(
        self,
        features: FloatArray,
        endpoints: Sequence[str],
        hardware: Sequence[str | None],  # noqa: ARG002  # the protocol's; the truth needs no label
    ) -> Predictions:
        """Predict for ``(n, n_features)`` rows, one per endpoint.

        Raises:
            KeyError: An endpoint it was not told of.
        """
        steps = self._steps_of(tuple(endpoints))
        rows = features.T
        own, squares, held_ktok = rows[_UNCACHED], rows[_SQUARES], self._held_ktok(rows)
        # The engine seats no more than this: the rest of ours waits, whatever it holds.
        decoding = np.minimum(rows[_DECODING], steps.seats)
        context = rows[_CONTEXT]
        token_s = steps.token_s(decoding)
        queued = self._left_in_queue(rows, token_s)
        prefill = steps.prefill(
            tokens=np.stack((queued + own, own)),
            squares=np.stack((queued * self._squares_per_token(rows) + squares, squares)),
            decoding=decoding,
            context_ktok=context,
        )
        together = rows[_DECODING] + rows[_QUEUED] + 1.0
        batch = np.minimum(together, steps.seats)
        batch_ktok = context + rows[_QUEUED] * self._mean_held_ktok(rows) + held_ktok
        decode_s, tpot_s = steps.decode_s(
            np.stack((decoding, batch)), np.stack((context, batch_ktok * batch / together))
        )
        wait_s = self._wait_s(rows, steps, decoding, decode_s, queued + own)
        ttft_s = (
            self._way_s
            + steps.request_overhead_s
            + rows[_FROM_CPU] * steps.cpu_load_s
            + rows[_FROM_SHARED] * self._shared_load_s
            + np.where(decoding > 0, decode_s * steps.joins_after_steps, 0.0)
            + np.maximum(prefill.seconds[0], wait_s + prefill.seconds[1])
        )
        return Predictions(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            quantiles_s=np.stack((ttft_s, tpot_s))[:, None] * _QUANTILES[:, None],
            rank_ttft_s=ttft_s,
            rank_tpot_s=tpot_s,
            prefill_s=np.maximum(prefill.seconds[1] - prefill.steps[1] * decode_s, 0.0),
            decode_step_s=steps.sequence_s(batch, held_ktok),
            prefill_token_s=steps.budget_s / steps.budget,  # a speed, whatever else runs there
            experts=np.log(np.stack((ttft_s, tpot_s)))[:, None],
            layer="prior",
        )

    def learn(self, observation: Observation) -> None:
        """Note what the prompt was like; nothing measured is learned."""
        if observation.upstream_ttft_s is not None:  # once a request, not once a target
            self._prompts.add(observation.features)

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        """Give the probability, ``(n,)``, of the whole objective under log-normal error."""
        likely = np.ones(len(predictions.ttft_s))
        for limit_s, expected_s in (
            (objective.ttft_s, predictions.ttft_s),
            (objective.tpot_s, predictions.tpot_s),
        ):
            if limit_s is not None:
                likely *= ndtr(np.log(limit_s / expected_s) / LOG_SIGMA) if limit_s > 0 else 0.0
        return likely

    def _steps_of(self, endpoints: tuple[str, ...]) -> StepArrays:
        if endpoints != self._candidates:  # they are nearly always the same ones
            self._steps = StepArrays.of([self._endpoints[name] for name in endpoints])
            self._candidates = endpoints
        return self._steps

    @staticmethod
    def _held_ktok(rows: FloatArray) -> FloatArray:
        """Give what this request will hold in the middle of its answer, 1e3 tokens."""
        held: FloatArray = (rows[_PROMPT] + rows[_OUTPUT] / 2) / 1e3
        return held

    def _mean_held_ktok(self, rows: FloatArray) -> FloatArray | float:
        """Give what a queued request will hold; before any was seen, what this one will."""
        prompts = self._prompts
        return prompts.held_tokens / prompts.seen / 1e3 if prompts.seen else self._held_ktok(rows)

    def _squares_per_token(self, rows: FloatArray) -> FloatArray | float:
        """Give the attention of a queued token, Mtok^2; before any was seen, as this one's."""
        prompts = self._prompts
        if prompts.uncached_tokens > 0:
            return prompts.squares / prompts.uncached_tokens
        own: FloatArray = rows[_SQUARES] / np.maximum(rows[_UNCACHED], 1.0)
        return own

    @staticmethod
    def _left_in_queue(rows: FloatArray, token_s: FloatArray) -> FloatArray:
        """Take off the queued tokens what is done of the oldest.

        All its time, where nothing was ahead of it; half on average, where something was,
        which is as likely as the endpoint's share of time spent on prefills.
        """
        tokens = rows[_QUEUED_TOKENS]
        in_time = rows[_OLDEST] / np.maximum(token_s, 1e-9)
        busy = np.minimum(rows[_PREFILL_RATE] * token_s, 1.0)
        done = np.minimum(in_time, tokens / np.maximum(rows[_QUEUED], 1.0)) * (1.0 - busy / 2)
        left: FloatArray = tokens - done
        return left

    @staticmethod
    def _wait_s(
        rows: FloatArray,
        steps: StepArrays,
        decoding: FloatArray,
        decode_s: FloatArray,
        tokens: FloatArray,
    ) -> FloatArray:
        """Time until enough of those who decode have ended to leave a seat and blocks.

        Each lives as long as its expected output takes. One that ends leaves what it held
        less what the others have grown by since the one before: half an output less than
        the mean, which has half of its own.
        """
        usage, output = np.nan_to_num(rows[_USAGE], nan=0.0), rows[_OUTPUT]
        batch = np.maximum(decoding, 1.0)
        lacking = np.maximum(tokens - (1.0 - usage) * steps.kv_tokens, 0.0)
        left = np.maximum(usage * steps.kv_tokens / batch - output / 2, output / 4 + 1.0)
        unseated = np.maximum(rows[_INFLIGHT] + 1.0 - steps.seats, 0.0)
        to_end = np.where(decoding > 0, np.maximum(lacking / left, unseated), 0.0)
        wait_s: FloatArray = to_end * output * decode_s / batch
        return wait_s
