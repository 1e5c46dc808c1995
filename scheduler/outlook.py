"""How many endpoints a fleet needs, and when those it has will be too few.

What they can take within the fleet's objective (:mod:`scheduler.attainable`) against what
is coming (:mod:`scheduler.arrivals`). Endpoints that stand by are a reserve and not counted.
What requests are like, and what an endpoint takes, is remembered while nothing is sent.
Asked by whoever publishes it; nothing that decides about a request reads it.
"""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from predictor import PredictorError
from predictor.features import COLUMN
from predictor.types import Objective
from scheduler.attainable import attainable, usual_rows
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.fleet import Fleet
from scheduler.settings import SchedulerSettings, TierSettings

DEFAULT_TTFT_S: Final = 2.0
"""What a fleet is sized for where nothing says."""

# The first predictions are of a few requests, and say little of how many endpoints are needed.
_NEW_S: Final = 60.0

# A rush that gathers pace lies above the line through all of the window: the last part of it
# has a line of its own, and the higher forecast counts.
_SHORTER: Final = 3.0

# An objective that is missed with fewer at an endpoint is not missed for want of endpoints.
_BUSY_REQUESTS: Final = 4.0


class Outlook(NamedTuple):
    """Tell what a fleet gets, can take and needs; NaN for unknown.

    Attributes:
        demand_per_s: Requests a second that come.
        forecast_per_s: That will come once an endpoint asked for now would serve.
        capacity_per_s: That its endpoints can take within the objective.
        saturation_s: Until demand reaches capacity: earliest, expected, latest; infinite
            for never.
        endpoints: That serve it, those standing by left out.
        needed: Endpoints for demand, now and forecast, and for what waits; a fraction of
            one is told.
        own_ratio: Share of the demand that came to this router, by what it knows of others.
    """

    demand_per_s: float
    forecast_per_s: float
    capacity_per_s: float
    saturation_s: tuple[float, float, float]
    endpoints: int
    needed: float
    own_ratio: float = 1.0

    @property
    def spare_per_s(self) -> float:
        """Give the requests a second it could take on top, below 0 where it has too many."""
        return self.capacity_per_s - self.demand_per_s

    @property
    def desired(self) -> int | None:
        """Give the whole endpoints it needs, at least one; ``None`` where nobody can tell."""
        return None if math.isnan(self.needed) else max(math.ceil(self.needed - 1e-9), 1)


def outlook(
    fleet: Fleet,
    table: EndpointTable,
    members: Members,
    settings: SchedulerSettings,
    *,
    waiting: int,
    now: float,
    ask: bool = True,
    own_ratio: float = 1.0,
) -> Outlook:
    """Look ahead for one fleet.

    Args:
        fleet: Which.
        table: What is known of its endpoints.
        members: Those that take requests, none that stand by.
        settings: The scheduler's.
        waiting: Requests that wait here for it.
        now: Clock in seconds.
        ask: Whether the predictor may be asked.
        own_ratio: Share of the fleet's requests that come to this router; those of others
            are taken to follow the same trend.
    """
    scaling, known = settings.scaling, fleet.knowledge
    capacity = math.nan
    if ask and members:
        _learn(fleet, table, members, settings, now)
        capacity = known.endpoint_per_s * len(members)
    elif not members:
        capacity = 0.0
    trend = fleet.pace.arrivals.trend(now, window_s=scaling.window_s).over(own_ratio)
    forecast = max(
        _ahead(fleet, window_s, scaling.startup_s, own_ratio, now)
        for window_s in (scaling.window_s, scaling.window_s / _SHORTER)
    )
    # To let one go takes no time: there is no need to be ahead of a demand that falls. What
    # waits is worked off while an endpoint would start.
    wanted = max(forecast, trend.per_s) + waiting / own_ratio / max(scaling.startup_s, 1.0)
    planned = scaling.target_ratio * known.endpoint_per_s
    needed = wanted / planned if planned > 0.0 else math.nan
    if fleet.pace.arrivals.age_s(now) < _NEW_S and members and not math.isnan(needed):
        needed = float(len(members))  # as it is
    return Outlook(
        demand_per_s=trend.per_s,
        forecast_per_s=forecast,
        capacity_per_s=capacity,
        saturation_s=trend.reaches_s(capacity),
        endpoints=len(members),
        needed=needed,
        own_ratio=own_ratio,
    )


def _ahead(fleet: Fleet, window_s: float, startup_s: float, own_ratio: float, now: float) -> float:
    """Forecast the rate of arrivals by the trend of a window."""
    trend = fleet.pace.arrivals.trend(now, window_s=window_s).over(own_ratio)
    return trend.at(startup_s, tau_s=window_s / 2)


def _learn(
    fleet: Fleet, table: EndpointTable, members: Members, settings: SchedulerSettings, now: float
) -> None:
    """Look at what an endpoint takes, by prediction and by what it does."""
    known, confidence = fleet.knowledge, settings.scaling.confidence
    rows = table.columns.values.take(members.rows, axis=0)
    known.see(rows, fleet.output_lengths.expected(None, None))
    if known.mix is None:
        return
    objective = sized_for(settings)
    each = attainable(fleet, table, members, known.mix, objective, confidence=confidence, now=now)
    if each is None:
        return
    present = usual_rows(table, members, known.mix, now)
    try:
        said = fleet.predictor.predict(present, members.names, members.hardware)
    except PredictorError:
        return
    likely = float(fleet.predictor.probability(said, objective).mean())
    sent_per_s = float(present[:, COLUMN["dispatches_per_s"]].mean())
    busy = float(present[:, COLUMN["inflight_requests"]].mean()) >= _BUSY_REQUESTS
    known.judge(float(each.mean()), sent_per_s, met=likely >= confidence, busy=busy, now=now)


def sized_for(settings: SchedulerSettings) -> Objective:
    """Give the objective that fleets are sized for.

    >>> sized_for(SchedulerSettings())
    Objective(ttft_s=2.0, tpot_s=None)
    """
    scaling, tiers = settings.scaling, settings.tiers.values()
    ttft_s = scaling.ttft_s or _tightest(tier.ttft_s for tier in _kept(tiers))
    tpot_s = scaling.tpot_s or _tightest(tier.tpot_s for tier in _kept(tiers))
    if ttft_s is None and tpot_s is None:
        ttft_s = DEFAULT_TTFT_S
    return Objective(ttft_s=ttft_s, tpot_s=tpot_s)


def _kept(tiers: Iterable[TierSettings]) -> Iterable[TierSettings]:
    return [tier for tier in tiers if not tier.sheddable]


def _tightest(limits: Iterable[float | None]) -> float | None:
    return min((limit for limit in limits if limit is not None), default=None)
