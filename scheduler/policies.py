"""The policies one can choose: candidates in, named cost terms out; the lowest sum wins.

Heuristics are here because people use them, because the predicted-latency policy
falls back to one, and because a claim needs a baseline. Each is at its best known
setting. A policy never picks: the scheduler does, and breaks ties.
"""

from typing import ClassVar, Final, Protocol, assert_never

from scheduler.affinity_policies import (
    BoundedLoadHash,
    PrefixAffinity,
    RadixCacheAware,
    SessionAffinity,
    WeightedBlend,
)
from scheduler.candidates import Candidates, Signal, Terms
from scheduler.load_policies import (
    LeastRequest,
    Lmetric,
    LmetricOwn,
    LmetricSpeed,
    PowerOfTwo,
    QueuedTokens,
    QueuedTokensSpeed,
    Random,
    RoundRobin,
    TokenLoad,
)
from scheduler.predicted_latency import PredictedLatency
from scheduler.settings import (
    BoundedLoadHashSettings,
    PlainPolicySettings,
    PolicySettings,
    PredictedLatencySettings,
    PrefixAffinitySettings,
    RadixCacheAwareSettings,
    WeightedBlendSettings,
)


class Policy(Protocol):
    """Score every candidate; lower is better.

    Attributes:
        name: Under which it is chosen and counted.
        needs: What it reads; without a producer of it the service does not start.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[Signal]]

    def terms(self, candidates: Candidates) -> Terms:
        """Give the named parts of the cost, each finite and ``(n,)``."""
        ...


_PLAIN: Final[dict[str, type[Policy]]] = {
    policy.name: policy
    for policy in (
        RoundRobin,
        Random,
        LeastRequest,
        PowerOfTwo,
        TokenLoad,
        QueuedTokens,
        QueuedTokensSpeed,
        Lmetric,
        LmetricOwn,
        LmetricSpeed,
        SessionAffinity,
    )
}


def build_policy(settings: PolicySettings) -> Policy:
    """Construct the policy the settings describe.

    >>> from scheduler.settings import POLICIES
    >>> build_policy(POLICIES["lmetric"]).name
    'lmetric'
    """
    match settings:
        case PlainPolicySettings():
            return _PLAIN[settings.kind]()
        case WeightedBlendSettings():
            return WeightedBlend(settings)
        case PrefixAffinitySettings():
            return PrefixAffinity(settings)
        case RadixCacheAwareSettings():
            return RadixCacheAware(settings)
        case BoundedLoadHashSettings():
            return BoundedLoadHash(settings)
        case PredictedLatencySettings():
            return PredictedLatency(settings)
    assert_never(settings)
