"""The step times that a fit looks for: seven numbers, and the profile they make.

Decides the form: a step costs a fixed time, time for each token up to a bend and more
beyond it, time for each decoding sequence and for what these hold, and the squares of
prefill attention; a request costs a constant besides. A profile of the simulator has more
knots; a trace of requests does not show them. Called by :mod:`foretoken.replay.fitting`.
"""

from typing import Final

import numpy as np

from predictor.types import FloatArray
from simulator.profiles import Profile

PARAMETERS: Final = {
    "request_s": "before a request is scheduled, network included",
    "step_s": "a step with next to nothing in it",
    "prefill_token_s": "a token of a large prefill",
    "attention_s": "prefill attention, per million squared tokens",
    "decoding_s": "each sequence that decodes",
    "context_s": "each thousand tokens those hold",
    "bend_tokens": "tokens in a step from which on each costs the whole prefill_token_s",
}
"""What is fitted, in this order: seconds, but for the last."""

REQUEST, STEP, TOKEN, ATTENTION, DECODING, CONTEXT, BEND = range(len(PARAMETERS))

USUAL: Final = np.array([0.01, 0.012, 5e-5, 2e-3, 4e-5, 6e-5, 256.0])
"""The middle of the measured profiles: where a fit falls back to if a trace says nothing."""

LOWEST: Final = np.array([1e-4, 5e-4, 5e-7, 1e-6, 1e-7, 1e-7, 32.0])
HIGHEST: Final = np.array([2.0, 2.0, 0.05, 5.0, 0.05, 0.5, 1024.0])
"""Bounds: from far below the fastest machine there is to a model on a CPU."""

_CHEAP: Final = 0.55
"""What a token below the bend costs of one beyond it: 0.5 to 0.7 in the measured profiles,
whose small steps wait for weights, not for arithmetic."""

_LAST_KNOT: Final = 16_384


def profile_of(
    values: FloatArray, *, name: str, model: str, kv_tokens: int, max_batched_tokens: int
) -> Profile:
    """Make a profile of fitted values; ``request_s`` is none of its own, but the engine's.

    >>> made = profile_of(USUAL, name="a", model="m", kv_tokens=1000, max_batched_tokens=2048)
    >>> round(made.step_s([(1256, 0)], 0, 0), 4)
    0.0706
    """
    _, step_s, token_s, attention_s, decoding_s, context_s, bend = values.tolist()
    knot = max(2, round(bend))
    cheap_s = _CHEAP * token_s
    at_knot_s = step_s + cheap_s * (knot - 1)
    return Profile(
        name=name,
        gpu=name,
        model=model,
        tp=1,
        dtype="unknown",
        kv_tokens=kv_tokens,
        max_num_batched_tokens=max_batched_tokens,
        knots=(1, knot, _LAST_KNOT),
        base_s=(step_s, at_knot_s, at_knot_s + token_s * (_LAST_KNOT - knot)),
        slopes_s=(cheap_s, token_s, token_s),
        attention_s=attention_s,
        decoding_s=decoding_s,
        context_s=context_s,
        prefill_context_s=context_s,
        prefill_s=0.0,
    )
