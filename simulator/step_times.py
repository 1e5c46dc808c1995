"""How long an engine's steps take: the profile's time, overhead, speed and noise.

Called by the engine, which knows what a step computes.
"""

from collections.abc import Iterable
from random import Random

from simulator.noise import StepNoise
from simulator.profiles import Profile
from simulator.settings import EngineSettings
from simulator.types import Step


class StepTimes:
    """Time the steps of one engine.

    Attributes:
        speed: Step times are divided by it; a change counts from the next step on.
    """

    __slots__ = ("_ahead", "_noise", "_overhead_s", "_planned", "_profile", "speed")

    def __init__(self, profile: Profile, settings: EngineSettings, rng: Random) -> None:
        self.speed = settings.speed
        self._profile = profile
        self._planned: Step | None = None
        self._ahead = settings.async_scheduling
        self._overhead_s = settings.step_overhead_s
        self._noise = StepNoise(
            sigma=settings.step_noise_sigma,
            stall_share=settings.stall_share,
            stall_factor=settings.stall_factor,
            rng=rng,
        )

    def take(self, steps: int) -> None:
        """Note that as many steps have been taken; each has its own noise."""
        self._noise.take(steps)

    def renew(self, rng: Random, now: float) -> None:
        """Draw the noise of all steps to come anew, and that of the last one planned.

        Args:
            rng: Seeds it.
            now: If that step is under way, it ends no earlier.
        """
        step, drawn = self._planned, self._noise.coming(1)[0]
        self._noise.renew(rng)
        if step is None or step.ends_s[-1] <= now:
            return
        began_s, ends_s = step.span_s(len(step.ends_s) - 1)
        lasts_s = (ends_s - began_s) / drawn * self._noise.coming(1)[0]
        step.ends_s[-1] = max(began_s + lasts_s, now)

    def prefill(
        self, now: float, chunks: Iterable[tuple[int, int]], decoding: int, context_tokens: int
    ) -> Step:
        """Time one step that prefills chunks of ``(new, prefix)`` tokens beside its decodes."""
        chunks = tuple(chunks)
        duration_s = self._profile.step_s(chunks, decoding, context_tokens) + self._overhead_s
        duration_s = duration_s / self.speed * self._noise.coming(1)[0]
        self._planned = Step(
            began_s=now,
            ends_s=[now + duration_s],
            prefill_tokens=sum(new for new, _ in chunks),
            decoding=decoding,
            context_tokens=context_tokens,
        )
        return self._planned

    def decode(
        self, now: float, decoding: int, context_tokens: int, *, steps: int, until_s: float
    ) -> Step:
        """Time a stretch of steps that only decode.

        Args:
            now: When it begins.
            decoding: Requests that decode.
            context_tokens: Tokens they hold in the first step; one more each per step.
            steps: Steps at most.
            until_s: When another request becomes ready. The last step is the first after
                which it can be scheduled: that ends, or scheduling ahead begins, no earlier.
        """
        fixed_s = self._profile.decode_s(decoding) + self._overhead_s
        token_s = self._profile.context_s / 1e3
        held, end_s, speed = context_tokens, now, self.speed
        ends_s = []
        for factor in self._noise.coming(steps):
            begun_s = end_s
            end_s += (fixed_s + token_s * held) / speed * factor
            ends_s.append(end_s)
            if (begun_s if self._ahead else end_s) >= until_s:
                break
            held += decoding
        self._planned = Step(
            began_s=now,
            ends_s=ends_s,
            prefill_tokens=0,
            decoding=decoding,
            context_tokens=context_tokens,
        )
        return self._planned
