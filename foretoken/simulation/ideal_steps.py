"""The engine's step times at many endpoints at once, as arrays.

Decides nothing: the numbers of :meth:`simulator.profiles.Profile.step_s` with the
engine's overhead, speed and mean noise in them, for ``n`` endpoints in one evaluation.
Called by ideal physics only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from predictor.types import FloatArray
from simulator.profiles import Profile
from simulator.projection import mean_noise
from simulator.settings import EngineSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefill:
    """Say what it takes to prefill alongside those who decode.

    Attributes:
        seconds: ``(k, n)`` from the first step's beginning to the last one's end.
        steps: ``(k, n)`` how many steps that is.
    """

    seconds: FloatArray
    steps: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class StepArrays:
    """Hold the step-time function of ``n`` endpoints; all arrays but three are ``(n,)``.

    Attributes:
        knots: ``(n, n_knots)`` step sizes in tokens, ascending; infinite beyond the last.
        base_s: ``(n, n_knots)`` seconds of a step at each knot, constants included.
        slopes_s: ``(n, n_knots)`` seconds per token above each knot.
        attention_s: Seconds per 1e6 squared tokens of prefill attention.
        decoding_s: Seconds per decoding sequence beyond what ``base_s`` counts.
        context_s: Seconds per 1e3 tokens of context the decodes read.
        prefill_s: Seconds added by any prefill; that few tokens cost less is left out.
        budget_s: Seconds of a step at the whole budget.
        budget: Most tokens of a step.
        seats: Most requests in a batch.
        kv_tokens: Tokens the KV cache holds.
        request_overhead_s: Constant before a request can be scheduled.
        joins_after_steps: Steps that a request waits on average where others decode.
        cpu_load_s: Seconds to bring a token's KV back from CPU memory.

    >>> from simulator.profiles import profile
    >>> h100 = profile("h100_sxm/llama-3.1-8b")
    >>> steps = StepArrays.of([(h100, EngineSettings(step_noise_sigma=0, stall_share=0))])
    >>> one = np.ones(1)
    >>> bool(np.isclose(steps.decode_s(one, one)[0], h100.step_s([], 1, 1000)))
    True
    """

    knots: FloatArray
    base_s: FloatArray
    slopes_s: FloatArray
    attention_s: FloatArray
    decoding_s: FloatArray
    context_s: FloatArray
    prefill_s: FloatArray
    budget_s: FloatArray
    budget: FloatArray
    seats: FloatArray
    kv_tokens: FloatArray
    request_overhead_s: FloatArray
    joins_after_steps: FloatArray
    cpu_load_s: FloatArray

    @classmethod
    def of(cls, endpoints: Sequence[tuple[Profile, EngineSettings]]) -> "StepArrays":
        """Take them from each endpoint's profile and engine settings."""
        longest = max(len(profile.knots) for profile, _ in endpoints)
        knots = np.full((len(endpoints), longest), np.inf)
        base_s, slopes_s = np.zeros((2, len(endpoints), longest))
        constants = np.empty((len(endpoints), 11))
        for row, (profile, settings) in enumerate(endpoints):
            known, pace = len(profile.knots), mean_noise(settings) / settings.speed
            budget = settings.max_num_batched_tokens or profile.max_num_batched_tokens
            knots[row, :known] = profile.knots
            base_s[row, :known] = np.add(profile.base_s, settings.step_overhead_s) * pace
            slopes_s[row, :known] = np.multiply(profile.slopes_s, pace)
            constants[row] = (
                profile.attention_s * pace,
                profile.decoding_s * pace,
                profile.context_s * pace,
                profile.prefill_s * pace,
                (profile.step_s([], budget, 0) - profile.decoding_s * budget) * pace
                + settings.step_overhead_s * pace,
                budget,
                min(settings.max_num_seqs, budget),
                settings.kv_tokens or profile.kv_tokens,
                settings.request_overhead_s,
                0.5 + settings.async_scheduling,
                settings.cpu_load_s_per_token,
            )
        attention, decoding, context, prefill, full, budgets, seats, kv, request, joins, load = (
            constants.T
        )
        return cls(
            knots=knots,
            base_s=base_s,
            slopes_s=slopes_s,
            attention_s=attention,
            decoding_s=decoding,
            context_s=context,
            prefill_s=prefill,
            budget_s=full,
            budget=budgets,
            seats=seats,
            kv_tokens=kv,
            request_overhead_s=request,
            joins_after_steps=joins,
            cpu_load_s=load,
        )

    def decode_s(self, decoding: FloatArray, context_ktok: FloatArray) -> FloatArray:
        """Time steps in which ``(..., n)`` sequences decode, in seconds of that shape."""
        seconds: FloatArray = (
            self._step_s(decoding) + self.decoding_s * decoding + self.context_s * context_ktok
        )
        return seconds

    def sequence_s(self, decoding: FloatArray, held_ktok: FloatArray) -> FloatArray:
        """Give what one more sequence of ``held_ktok`` adds to such a step, ``(n,)`` seconds."""
        _, slope_s = self._at(decoding)
        return np.maximum(slope_s + self.decoding_s + self.context_s * held_ktok, 0.0)

    def token_s(self, decoding: FloatArray) -> FloatArray:
        """Give what a prefill token adds, at full steps and without attention, ``(n,)``."""
        return (self.budget_s - self._step_s(decoding)) / self._room(decoding)

    def prefill(
        self,
        *,
        tokens: FloatArray,
        squares: FloatArray,
        decoding: FloatArray,
        context_ktok: FloatArray,
    ) -> Prefill:
        """Time prefills in chunks of what the budget leaves beside the decodes.

        Args:
            tokens: ``(k, n)`` uncached tokens of each of ``k`` cases.
            squares: ``(k, n)`` their attention, 1e6 squared tokens.
            decoding: ``(n,)`` sequences that decode meanwhile.
            context_ktok: ``(n,)`` 1e3 tokens of context these hold.
        """
        room = self._room(decoding)
        full = np.floor(tokens / room)
        rest = tokens - full * room
        steps = full + (rest > 0)
        each_s = self.prefill_s + self.decoding_s * decoding + self.context_s * context_ktok
        last_s = np.where(rest > 0, self._step_s(rest + decoding), 0.0)
        return Prefill(
            seconds=full * self.budget_s + last_s + steps * each_s + self.attention_s * squares,
            steps=steps,
        )

    def _room(self, decoding: FloatArray) -> FloatArray:
        return np.maximum(self.budget - decoding, 1.0)

    def _step_s(self, tokens: FloatArray) -> FloatArray:
        seconds, _ = self._at(tokens)
        return seconds

    def _at(self, tokens: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Give seconds and slope of steps of ``(..., n)`` tokens."""
        knot = np.maximum((tokens[..., None] >= self.knots).sum(-1) - 1, 0)
        flat = knot + np.arange(len(self.knots)) * self.knots.shape[1]
        slope_s = self.slopes_s.take(flat)
        return self.base_s.take(flat) + slope_s * (tokens - self.knots.take(flat)), slope_s
