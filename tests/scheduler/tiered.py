"""Tiers with objectives in front of an endpoint whose physics are known."""

from predictor.types import Measurement
from scheduler import Dispatch, Scheduler, SchedulerSettings, TierSettings
from tests.scheduler.known_physics import request

DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=11, cached_tokens=0)

# KnownPhysics: a first token after 10 ms + 0.1 ms a queued and own prompt token (1,000 of
# them here: 0.1 s), and 10 ms + 10 ms for each request in flight between two tokens.
TIERS = {
    "interactive": TierSettings(priority=10, ttft_s=0.5, tpot_s=0.045),
    "standard": TierSettings(ttft_s=2.0, tpot_s=0.1),
    "batch": TierSettings(priority=-10, sheddable=True, max_wait_s=60.0),
}
TIERED = SchedulerSettings(tiers=TIERS, default_tier="standard")


def dispatched(scheduler: Scheduler, *names: str, tier: str, now: float = 0.0) -> list[Dispatch]:
    actions = [scheduler.route(request(name, tier=tier, arrived_s=now), now=now) for name in names]
    assert all(isinstance(action, Dispatch) for action in actions)
    return [action for action in actions if isinstance(action, Dispatch)]
