"""How a run goes over time: mean e2e by time of arrival, and how soon it is back to normal.

Pure. A window holds what arrived in it, whenever that ended; a request that was still
under way when its run was cut counts with the time it had taken by then.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from foretoken.simulation.outcome import UNFINISHED, Outcome, Run

WINDOW_S: Final = 10.0

Windows = Mapping[str, Sequence[float]]
"""By window of ``WINDOW_S`` from the start of the run: ``requests`` that have an e2e, ``e2e_s``
their sum, ``lost`` those that ended otherwise."""


def windows(run: Run) -> dict[str, list[float]]:
    """Sum a run up by window, up to the end of what is measured."""
    count = round((run.warmup_s + run.measure_s) / WINDOW_S)
    found: dict[str, list[float]] = {name: [0.0] * count for name in ("requests", "e2e_s", "lost")}
    for outcome in run.outcomes:
        number = int(outcome.arrived_s // WINDOW_S)
        if number >= count:
            continue
        took_s = _took_s(run, outcome)
        if took_s is None:
            found["lost"][number] += 1
        else:
            found["requests"][number] += 1
            found["e2e_s"][number] += took_s
    return found


def makespan_s(run: Run) -> float | None:
    """Give the time from the measured window's begin until all that arrived in it has ended.

    ``None`` unless all of it has.
    """
    took = [
        None if each.e2e_s is None else each.arrived_s + each.e2e_s - run.warmup_s
        for each in run.outcomes
        if 0 <= each.arrived_s - run.warmup_s < run.measure_s
    ]
    known = [each for each in took if each is not None]
    return max(known) if known and len(known) == len(took) else None


def mean_e2e(runs: Sequence[Windows], first: int, count: int) -> float | None:
    """Give the mean e2e of all runs' requests over ``count`` windows; ``None`` for no requests.

    >>> mean_e2e([{"requests": [1, 1], "e2e_s": [2.0, 4.0]}], 0, 2)
    3.0
    """
    requests = sum(sum(each["requests"][first : first + count]) for each in runs)
    seconds = sum(sum(each["e2e_s"][first : first + count]) for each in runs)
    return seconds / requests if requests else None


def steady_e2e(runs: Sequence[Windows], changed_s: float) -> float | None:
    """Give the mean e2e of the last third of what came after a change."""
    whole = _count(runs)
    third = (whole - round(changed_s / WINDOW_S)) // 3
    return mean_e2e(runs, whole - third, third)


def back_to_own_s(runs: Sequence[Windows], changed_s: float, *, within: float) -> float | None:
    """Tell how long after a change e2e was last above its own last third.

    Says nothing against a policy that never gets better; :func:`back_to_usual_s` does.

    Args:
        runs: One for each seed, pooled: a single one's windows are too noisy.
        changed_s: When it changed.
        within: Share above that counts as back.

    Returns:
        End of the last window above it, after the change; 0 if there is none. ``None``
        where nothing arrived.

    >>> slow = {"requests": [1] * 10, "e2e_s": [1, 9, 3, 1, 1, 1, 1, 1, 1, 1]}
    >>> back_to_own_s([slow], 10.0, within=0.1)
    20.0
    """
    steady = steady_e2e(runs, changed_s)
    if steady is None:
        return None
    first, whole = round(changed_s / WINDOW_S), _count(runs)
    judged = range(first, whole - (whole - first) // 3)
    means = {number: mean_e2e(runs, number, 1) for number in judged}
    late = [number for number, mean in means.items() if mean and mean > steady * (1 + within)]
    return (late[-1] + 1 - first) * WINDOW_S if late else 0.0


def back_to_usual_s(
    runs: Sequence[Windows], usual: Sequence[Windows], changed_s: float, *, within: float
) -> float | None:
    """Tell how long after a change e2e was last above that of a world that was always so.

    The same requests arrive in both, so what the traffic does cancels.

    Args:
        runs: One for each seed, pooled.
        usual: The same policy and seeds, where the change was there from the start.
        changed_s: When it changed.
        within: Share above that counts as back.

    Returns:
        End of the last window above it, after the change; 0 if there is none. ``None``
        where nothing arrived.

    >>> usual = {"requests": [1] * 4, "e2e_s": [1, 1, 2, 2]}
    >>> slow = {"requests": [1] * 4, "e2e_s": [1, 3, 3, 2.1]}
    >>> back_to_usual_s([slow], [usual], 10.0, within=0.1)
    20.0
    """
    first = round(changed_s / WINDOW_S)
    numbers = range(first, min(_count(runs), _count(usual)))
    pairs = {number: (mean_e2e(runs, number, 1), mean_e2e(usual, number, 1)) for number in numbers}
    known = {number: (one, other) for number, (one, other) in pairs.items() if one and other}
    if not known:
        return None
    late = [number for number, (one, other) in known.items() if one > other * (1 + within)]
    return (late[-1] + 1 - first) * WINDOW_S if late else 0.0


def _count(runs: Sequence[Windows]) -> int:
    return min(len(each["requests"]) for each in runs)


def _took_s(run: Run, outcome: Outcome) -> float | None:
    if outcome.outcome == UNFINISHED:
        return run.ended_s - outcome.arrived_s
    return outcome.e2e_s
