"""What a policy or a fleet would have changed, held against how far the replay is off.

Decides what counts as a difference: one that is larger than the replay's own error in the
same figure, and on the same side with every seed. Latencies are compared by ratio, shares
by difference, both between plays of the same seed, so that what the replay gets wrong on
both sides cancels. Called by :mod:`foretoken.replay.question`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from foretoken.replay.demand import Demand
from foretoken.replay.trust import Trust
from foretoken.simulation.figures import FIGURES, Figures, steady_figures
from foretoken.simulation.outcome import Outcome, Run
from predictor.types import Objective

ATTAINED: Final = "attained_ratio"
"""Share of the requests with an objective that kept all of it."""

SHARES: Final = ("hit_ratio", "shed_ratio", "error_ratio", ATTAINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Hold one figure of one alternative.

    Attributes:
        value: Mean over the seeds, ``None`` where nothing was measured.
        by: Against the baseline: ratio less 1, or for a share the difference; ``None``
            where the baseline has none.
        low: Smallest over the seeds.
        high: Largest.
        within_error: Whether the replay cannot tell it from no change.
        judged: Whether anybody recorded what the replay could be held against.
    """

    value: float | None
    by: float | None = None
    low: float | None = None
    high: float | None = None
    within_error: bool = True
    judged: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """Hold what one policy would have done.

    Attributes:
        policy: Its name.
        fleet: On which fleet.
        changes: By figure.
        truncated: Whether a play was cut while requests were under way: it is overloaded,
            and its latencies are lower bounds.
    """

    policy: str
    fleet: str
    changes: dict[str, Change]
    truncated: bool


def figures_of(run: Run, demand: Demand) -> dict[str, float | None]:
    """Give every figure of a run in its window, and the share of objectives kept."""
    return {**steady_figures(run), ATTAINED: attained(run, demand)}


def attained(run: Run, demand: Demand) -> float | None:
    """Give the share of objectives kept in a run's window, ``None`` where that is unknown.

    An answer that was not streamed has not told its times: whether it kept an objective of
    them is unknown, and it counts as those that did tell. What was not answered kept none.
    """
    begin_s, end_s = run.warmup_s, run.warmup_s + run.measure_s
    asked = [
        (objective, each)
        for each in run.outcomes
        if begin_s <= each.arrived_s < end_s
        if (objective := demand.requests[int(each.request_id)].objective)
    ]
    answered = [(objective, each) for objective, each in asked if each.outcome == "completed"]
    told = [(objective, each) for objective, each in answered if _tells(objective, each)]
    if not asked or (answered and not told):
        return None
    kept = sum(_meets(objective, each.ttft_s, each.tpot_s) for objective, each in told)
    return kept * len(answered) / (max(len(told), 1) * len(asked))


def alternative(
    runs: Sequence[Run], baseline: Sequence[Run], demand: Demand, trust: Trust
) -> Alternative:
    """Compare plays of one policy with plays of the baseline.

    Args:
        runs: By seed.
        baseline: By the same seeds, or a single one for all.
        demand: What was sent.
        trust: What the baseline is off by.
    """
    found = [figures_of(run, demand) for run in runs]
    against = [figures_of(run, demand) for run in baseline]
    names = [name for name in (*FIGURES, ATTAINED) if any(each[name] is not None for each in found)]
    return Alternative(
        policy=runs[0].policy,
        fleet=runs[0].fleet,
        changes={name: _change(name, found, against, trust) for name in names},
        truncated=any(run.truncated for run in runs),
    )


def _change(
    name: str, found: Sequence[Figures], against: Sequence[Figures], trust: Trust
) -> Change:
    known = [value for each in found if (value := each[name]) is not None]
    pairs = [
        (value, base)
        for index, each in enumerate(found)
        if (value := each[name]) is not None
        if (base := against[min(index, len(against) - 1)][name]) is not None
    ]
    value = float(np.mean(known)) if known else None
    judged = _judged(name, trust)
    if name in SHARES:
        by = [mine - base for mine, base in pairs]
    else:
        by = [mine / base - 1.0 for mine, base in pairs if base]
    if not by:
        return Change(value=value, judged=judged)
    middle, low, high = float(np.mean(by)), min(by), max(by)
    unclear = not judged or low <= 0.0 <= high or abs(middle) <= _error(name, trust)
    return Change(value=value, by=middle, low=low, high=high, within_error=unclear, judged=judged)


def _judged(name: str, trust: Trust) -> bool:
    if name in trust.shares:
        return trust.shares[name][0] is not None
    return name.partition("_")[0] not in trust.unjudged


def _error(name: str, trust: Trust) -> float:
    """Give what the replay is off by in a figure, 0 where it was not judged."""
    if (deviation := trust.deviations.get(name)) is not None:
        return deviation.error
    was, played = trust.shares.get(name, (None, None))
    return 0.0 if was is None or played is None else abs(played - was)


def _tells(objective: Objective, each: Outcome) -> bool:
    ttft_known = objective.ttft_s is None or each.ttft_s is not None
    tpot_known = objective.tpot_s is None or each.tpot_s is not None or each.output_tokens == 1
    return ttft_known and tpot_known


def _meets(objective: Objective, ttft_s: float | None, tpot_s: float | None) -> bool:
    return all(
        target_s is None or seconds is None or seconds <= target_s
        for target_s, seconds in ((objective.ttft_s, ttft_s), (objective.tpot_s, tpot_s))
    )
