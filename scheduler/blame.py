"""How much of a broken promise is for load to answer for.

Whoever holds back the less urgent because promises to others are broken must not do so
where that mends nothing: an endpoint may miss an objective with nobody else on it. So the
endpoint a request was sent to is imagined empty; what is predicted to break there too is
nobody's fault. Asked of requests whose promise is in danger or broken, which are few.
Called by :mod:`scheduler.objectives`.
"""

from typing import Final

import numpy as np

from predictor import PredictorError
from predictor.features import COLUMN
from predictor.protocol import Predictor
from predictor.types import Decision, FloatArray, Objective, Predictions
from predictor.values import replace

_NOTHING_THERE: Final = np.array(
    [
        COLUMN[name]
        for name in (
            "running_requests",
            "waiting_requests",
            "kv_cache_usage",
            "preemptions_per_s",
            "oldest_queued_s",
            "prefill_tokens_per_s",
            "dispatches_per_s",
            "inflight_requests",
            "queued_requests",
            "queued_prefill_tokens",
            "decoding_requests",
            "context_ktok",
        )
    ]
)
_UNKNOWN_THERE: Final = np.array(
    [COLUMN[name] for name in ("remaining_output_tokens", "recent_ttft_s", "recent_tpot_s")]
)
# Below it a probability of breaking is none.
_LEAST: Final = 1e-6


def blamed(
    predictor: Predictor, decision: Decision, objective: Objective, hardware: str | None
) -> float:
    """Give the share, 0 to 1, of a broken promise that others on its endpoint answer for.

    Of what is not predicted all of it is taken for theirs.

    Args:
        predictor: Of the fleet.
        decision: What the request was sent with.
        objective: What was promised.
        hardware: The label of its endpoint.
    """
    now, chosen = decision.predictions, decision.chosen
    if now is None or now.layer == "cold":
        return 1.0
    row = decision.features[chosen : chosen + 1].copy()
    row[:, _NOTHING_THERE] = 0.0
    row[:, _UNKNOWN_THERE] = np.nan
    try:
        alone = predictor.predict(row, (decision.endpoints[chosen],), (hardware,))
        kept = predictor.probability(_both(now, alone, chosen), objective)
    except PredictorError:
        return 1.0
    return share(float(1.0 - kept[0]), float(1.0 - kept[1]))


def share(broken: float, broken_alone: float) -> float:
    """Give the share of broken promises that would have been kept alone.

    Args:
        broken: Probability of breaking it as things are.
        broken_alone: The same with nobody else there.

    >>> share(0.4, 0.1), share(0.4, 0.5), share(0.0, 0.0)
    (0.75, 0.0, 0.0)
    """
    if broken < _LEAST:
        return 0.0
    return min(max(1.0 - broken_alone / broken, 0.0), 1.0)


def _both(now: Predictions, alone: Predictions, chosen: int) -> Predictions:
    """Give what is predicted as things are, and alone, ``(2,)``.

    Smooth physics says how the two differ: what else is learned is of loads that were seen.
    """
    ttft = _ratio(alone.rank_ttft_s.item(0), now.rank_ttft_s.item(chosen))
    tpot = _ratio(alone.rank_tpot_s.item(0), now.rank_tpot_s.item(chosen))
    scale = np.array([[1.0, ttft], [1.0, tpot]])
    # ``(2 targets, n_levels, 1)`` times ``(2 targets, 1, 2)``.
    quantiles_s: FloatArray = now.quantiles_s[:, :, chosen : chosen + 1] * scale[:, None, :]
    return replace(
        now,
        ttft_s=now.ttft_s[chosen] * scale[0],
        tpot_s=now.tpot_s[chosen] * scale[1],
        quantiles_s=quantiles_s,
    )


def _ratio(alone_s: float, now_s: float) -> float:
    """Give how much faster it is alone; never slower.

    >>> _ratio(0.5, 2.0), _ratio(3.0, 2.0), _ratio(0.0, 0.0)
    (0.25, 1.0, 1.0)
    """
    return min(alone_s / now_s, 1.0) if now_s > 0.0 else 1.0
