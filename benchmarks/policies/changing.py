"""The world changes mid-run: how soon the policy is back to its steady state.

The workload switches, an endpoint slows, one is replaced by a machine of another class,
one forgets its cache. Judged is the mean e2e by time of arrival, in windows of ten seconds
over all seeds, against the same policy on the same requests in a world that was so from
the start: the time until the last window that is more than a tenth above it. The time to
its own last third is shown too. Best heuristics are played beside; those that are told
true speeds are told those of the fleet as it began.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from rich.table import Table

from benchmarks.policies.bench import Bench, Document
from benchmarks.policies.cells import HELD_OUT, MIXED, TEN, Cell
from benchmarks.policies.musts import Verdict, all_pass, must_table, number
from benchmarks.policies.quality import OURS
from benchmarks.policies.results import Planned
from benchmarks.policies.scenarios import Scenario
from benchmarks.policies.windows import (
    WINDOW_S,
    Windows,
    back_to_own_s,
    back_to_usual_s,
    mean_e2e,
    steady_e2e,
)
from simulator.fleets import Flush, Replace, SlowDown

CHANGED_S: Final = 120.0
AFTER_S: Final = 240.0
WITHIN: Final = 0.10
MOST_S: Final = 60.0
POLICIES: Final = (
    OURS,
    "lmetric",
    "prefix_affinity",
    "queued_tokens_speed",
    "weighted_blend",
)
MINUTE: Final = round(60.0 / WINDOW_S)
"""Windows just before and after the change that are shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Pair a change with the cell it happens to, and with the world that was always so.

    Attributes:
        cell: Whose workload, fleet and load.
        scenario: What happens.
        always: The same with the change there from the start; its traffic after the change
            is the same.
        always_cell: Its cell, ``None`` for the same.
    """

    cell: Cell
    scenario: Scenario
    always: Scenario
    always_cell: Cell | None = None


_CHANGE: Final = partial(Scenario, at_s=CHANGED_S, measure_s=AFTER_S)
_CHAT: Final = Cell(workload="sharegpt", fleet=MIXED, load=0.6)
_L40S: Final = "l40s/llama-3.1-8b"

CASES: Final = (
    Case(
        cell=Cell(workload="sharegpt", fleet=MIXED, load=0.7),
        scenario=_CHANGE(name="workload switches", then="azure"),
        always=_CHANGE(name="workload was switched", then="azure"),
        always_cell=Cell(workload="azure", fleet=MIXED, load=0.7),
    ),
    Case(
        cell=_CHAT,
        scenario=_CHANGE(
            name="an endpoint slows",
            endpoint="h100-0",
            fault=SlowDown(at_s=CHANGED_S, factor=2.0),
        ),
        always=_CHANGE(
            name="an endpoint was slow", endpoint="h100-0", fault=SlowDown(at_s=0.0, factor=2.0)
        ),
    ),
    Case(
        cell=_CHAT,
        scenario=_CHANGE(
            name="another class",
            endpoint="h100-0",
            fault=Replace(at_s=CHANGED_S, profile=_L40S),
        ),
        always=_CHANGE(
            name="another class always", endpoint="h100-0", fault=Replace(at_s=0.0, profile=_L40S)
        ),
    ),
    Case(
        cell=Cell(workload="b2b-saas", fleet=TEN, load=0.7),
        scenario=_CHANGE(name="a cache is flushed", endpoint="h100-0", fault=Flush(at_s=CHANGED_S)),
        always=_CHANGE(name="no cache is flushed"),
    ),
)
"""Loads leave room for what the change takes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Tell what became of one policy in one case.

    Attributes:
        policy: Its name.
        runs: Windows by seed.
        before_s: Mean e2e in the minute before the change.
        minute_s: In the minute after it.
        steady_s: In the last third.
        usual_s: In the last third where the world was always so.
        back_s: Until the last window above that of the world that was always so.
        back_to_own_s: Until the last window above the own last third.
        lost: Requests that ended otherwise than completed, of all seeds.
    """

    policy: str
    runs: tuple[Windows, ...]
    before_s: float | None
    minute_s: float | None
    steady_s: float | None
    usual_s: float | None
    back_s: float | None
    back_to_own_s: float | None
    lost: float


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing, judge ours, show the others."""
    cases = CASES[1:2] if bench.quick else CASES
    policies = bench.policies or POLICIES
    seeds = bench.held_out(HELD_OUT)
    found = {case: recoveries(case, bench, policies, seeds) for case in cases}
    verdicts = [judge(case, each) for case, each in found.items()]
    bench.pages.show(
        bench.console,
        {
            "changing": recovery_table(found),
            "changing-musts": must_table(
                "Seconds until e2e is back within 10 % of its steady state", verdicts, digits=0
            ),
        },
    )
    document: Document = {
        "seeds": list(seeds),
        "cases": {case.scenario.name: [_json(one) for one in each] for case, each in found.items()},
        "verdicts": [one.as_json() for one in verdicts],
    }
    return document, all_pass(verdicts)


def recoveries(
    case: Case, bench: Bench, policies: Sequence[str], seeds: Sequence[int]
) -> list[Recovery]:
    """Play a case with every policy; those without all seeds are left out."""
    changed = bench.planned([case.cell], policies, seeds, case.scenario)
    always = bench.planned([case.always_cell or case.cell], policies, seeds, case.always)
    bench.play([*changed, *always])
    found = []
    for policy in policies:
        runs, usual = (_windows(bench, planned, policy) for planned in (changed, always))
        if len(runs) == len(usual) == len(seeds):
            found.append(recovery(policy, runs, usual))
    return found


def recovery(policy: str, runs: tuple[Windows, ...], usual: tuple[Windows, ...]) -> Recovery:
    """Sum up what became of a policy.

    Args:
        policy: Its name.
        runs: Windows by seed.
        usual: Those where the world was always so.
    """
    first = round(CHANGED_S / WINDOW_S)
    return Recovery(
        policy=policy,
        runs=runs,
        before_s=mean_e2e(runs, first - MINUTE, MINUTE),
        minute_s=mean_e2e(runs, first, MINUTE),
        steady_s=steady_e2e(runs, CHANGED_S),
        usual_s=steady_e2e(usual, CHANGED_S),
        back_s=back_to_usual_s(runs, usual, CHANGED_S, within=WITHIN),
        back_to_own_s=back_to_own_s(runs, CHANGED_S, within=WITHIN),
        lost=sum(sum(run["lost"]) for run in runs),
    )


def _windows(bench: Bench, planned: Sequence[Planned], policy: str) -> tuple[Windows, ...]:
    read = (bench.read(each) for each in planned if each.job.policy == policy)
    return tuple(run["windows"] for run in read if run is not None)


def judge(case: Case, found: Sequence[Recovery]) -> Verdict:
    """Judge ours; tell the best of the others."""
    ours = next((one.back_s for one in found if one.policy == OURS), None)
    others = {one.policy: one.back_s for one in found if one.policy != OURS}
    known = {name: value for name, value in others.items() if value is not None}
    best = min(known, key=known.__getitem__, default=None)
    note = "" if best is None else f"{best}: {known[best]:.0f} s"
    return Verdict(what=case.scenario.name, reached=ours, target=MOST_S, most=MOST_S, note=note)


def recovery_table(found: dict[Case, list[Recovery]]) -> Table:
    """Lay out e2e before, just after and at last, and when it was back."""
    table = Table(
        "change", "policy", "e2e before s", "minute after s", "at last s", "always so s",
        "back after s", "to own last s", "lost",
        title="The world changes: mean e2e by arrival",
    )  # fmt: skip
    for case, each in found.items():
        for one in each:
            seconds = (one.before_s, one.minute_s, one.steady_s, one.usual_s)
            table.add_row(
                f"{case.scenario.name}, {case.cell.name}",
                one.policy,
                *(number(value, 2) for value in seconds),
                number(one.back_s, 0),
                number(one.back_to_own_s, 0),
                f"{one.lost:.0f}",
            )
    return table


def _json(one: Recovery) -> Document:
    return {
        "policy": one.policy,
        "before_s": one.before_s,
        "minute_s": one.minute_s,
        "steady_s": one.steady_s,
        "usual_s": one.usual_s,
        "back_s": one.back_s,
        "back_to_own_s": one.back_to_own_s,
        "lost": one.lost,
        "e2e_s": [mean_e2e(one.runs, number, 1) for number in range(len(one.runs[0]["requests"]))],
    }
