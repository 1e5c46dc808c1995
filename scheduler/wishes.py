"""What a request asks for: its own wishes, completed and bounded by its tier's.

Called by whoever keeps, queues or places requests.
"""

from typing import Final

from predictor.types import Objective, RequestFeatures
from scheduler.settings import TierSettings

# A request's own priority moves it among its tier's by so much at most: clients choose it,
# and each distinct priority is followed on its own. Usual tiers lie further apart.
MOST_OWN_PRIORITY: Final = 4


def priority_of(request: RequestFeatures, tier: TierSettings) -> int:
    """Give what decides who goes first and who is protected: the tier's and its own, bounded.

    >>> asked = RequestFeatures(request_id="r", arrived_s=0.0, model="m", priority=1000)
    >>> priority_of(asked, TierSettings(priority=-10))
    -6
    """
    own = request.priority
    return tier.priority + (min(max(own, -MOST_OWN_PRIORITY), MOST_OWN_PRIORITY) if own else 0)


def objective_of(request: RequestFeatures, tier: TierSettings) -> Objective:
    """Merge the request's objective with its tier's.

    >>> asked = RequestFeatures(request_id="r", arrived_s=0.0, model="m")
    >>> objective_of(asked, TierSettings(ttft_s=0.5)).ttft_s
    0.5
    """
    wanted = request.objective
    if tier.ttft_s is None and tier.tpot_s is None:
        return wanted
    return Objective(
        ttft_s=wanted.ttft_s if wanted.ttft_s is not None else tier.ttft_s,
        tpot_s=wanted.tpot_s if wanted.tpot_s is not None else tier.tpot_s,
    )


def objective_left(whole: Objective, arrived_s: float, now: float) -> Objective:
    """Give an objective less the time already waited.

    >>> objective_left(Objective(ttft_s=2.0), 10.0, 10.5).ttft_s
    1.5
    """
    if whole.ttft_s is None:
        return whole
    return Objective(ttft_s=max(whole.ttft_s - (now - arrived_s), 0.0), tpot_s=whole.tpot_s)
