"""Another future of an engine: the same state, and noise of its own from here on.

Called by benchmarks that ask how much of a latency the state at dispatch decides.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from random import Random

from simulator.engine import Engine


def copy_engine(
    engine: Engine, now: float, output_tokens: Mapping[str, int] | None = None
) -> Engine:
    """Give an engine in the same state that goes on as this one would.

    Args:
        engine: Left as it is, but for steps that are over by ``now``, which it takes.
        now: The present.
        output_tokens: How long answers get instead, by request id, in tokens more than
            were generated so far; requests not named stay as they are.
    """
    memo: dict[int, object] = {id(engine.profile): engine.profile}
    state, others = engine.snapshot(now), output_tokens or {}
    alive = [*state.decoding, *(one for one, _ in state.prefilling), *state.queue.requests()]
    for one in alive:
        tokens = others.get(one.request.request_id)
        if tokens is not None:
            memo[id(one.request)] = replace(one.request, output_tokens=tokens)
    copy = deepcopy(engine, memo)
    copy.cut(now)
    return copy


def fork(
    engine: Engine, now: float, rng: Random, output_tokens: Mapping[str, int] | None = None
) -> Engine:
    """Give an engine in the same state whose steps take other times, as chance has it.

    The step under way is drawn anew too. Not meant for an engine that hangs.

    Args:
        engine: Left as it is, but for steps that are over by ``now``.
        now: The present.
        rng: Seeds the noise.
        output_tokens: As for :func:`copy_engine`.
    """
    other = copy_engine(engine, now, output_tokens)
    other.times.renew(rng, now)
    return other
