"""Promises kept by tier: goodput against heuristics, and overload.

    python -m benchmarks.flow_control [--part goodput|overload] [--quick] [--data DIR]
        [--json PATH] [--fleets A,B] [--workloads A,B] [--arms A,B] [--seeds 3,4] [--jobs N]

Three tiers share a fleet: interactive (0.5 s to the first token, 50 ms a token), standard
(2 s, 100 ms) and batch (nothing promised). Goodput is the highest load at which both
promised tiers have 95 % of their requests served within both targets. Musts: 1.15 times
the best baseline on the geometric mean, 1.3 times on mixed fleets; under overload at least
90 % of interactive requests served as promised, a reason for every refusal, and no request
left over. Exits 1 where a must falls short. ``--quick``: one workload, a shorter window,
three baselines.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.command import run as run_command
from benchmarks.flow_control import goodput, overload
from benchmarks.flow_control.runs import BASELINES, OURS, UNHELD, Figures, Scene
from benchmarks.prediction import DEFAULT_DATA
from foretoken.errors import SimulationRefused
from foretoken.simulation.arms import ARMS
from foretoken.simulation.comparison import cores, load
from foretoken.simulation.jobs import play_each
from foretoken.simulation.report import markdown_table

WORKLOADS: Final = ("tiers-chat", "tiers-rag")
FLEETS: Final = ("ten-qwen3-32b-h100", "eight-8b-h100", "mixed-8b")
SEEDS: Final = (3, 4)
"""Not those that the flow control was built with."""

QUICK_BASELINES: Final = ("lmetric", "queued_tokens", "queued_tokens_speed")
QUICK_WARMUP_S: Final = 40.0
QUICK_MEASURE_S: Final = 60.0
GUESS: Final = 0.65
OURS_GUESS: Final = 1.1
"""Of the capacity: where the searches begin."""
STORM_S: Final = 180.0
LULL_S: Final = 120.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Play, print and judge."""
    given = _parse(arguments)
    console = Console()
    kept: dict[str, object] = {}
    passed = True
    if given.part in {None, "goodput"}:
        found = _goodput(given, console)
        kept["goodput"] = [goodput.as_json(one) for one in found]
        kept["gains"] = goodput.gains(found)
        passed &= _judge_goodput(found, console)
    if given.part in {None, "overload"}:
        survived = _overload(given)
        kept["overload"] = [overload.as_json(one) for one in survived]
        passed &= _judge_overload(survived, console)
    if given.json is not None:
        given.json.write_text(json.dumps(kept, indent=2) + "\n")
    return 0 if passed else 1


def _scenes(given: argparse.Namespace, arms: Sequence[str]) -> list[Scene]:
    return [
        Scene(
            workload=workload,
            fleet=fleet,
            data=given.data,
            arm=arm,
            seed=seed,
            warmup_s=QUICK_WARMUP_S if given.quick else None,
            measure_s=QUICK_MEASURE_S if given.quick else None,
        )
        for workload in given.workloads
        for fleet in given.fleets
        for seed in given.seeds
        for arm in arms
    ]


def _capacity(scene: Scene) -> float:
    workload, fleet = load(scene.workload, scene.fleet, scene.data)
    capacity = workload.capacity(fleet.name)
    if capacity is None:
        raise SimulationRefused(
            f"the capacity of {fleet.name} for {workload.name} is not known: "
            f"python -m benchmarks.capacity {workload.name}:{fleet.name}"
        )
    return capacity


def _goodput(given: argparse.Namespace, console: Console) -> list[goodput.Goodput]:
    jobs = [
        goodput.Search(
            scene=one, guess=_capacity(one) * (OURS_GUESS if one.arm in {OURS, UNHELD} else GUESS)
        )
        for one in _scenes(given, given.arms)
    ]
    found: list[goodput.Goodput] = []
    for _, one in play_each(jobs, goodput.search, processes=given.jobs):
        found.append(one)
        console.print(f"{_name(one.scene)}: {one.rate:.1f}/s", highlight=False, soft_wrap=True)
    rows = [["where", "arm", "requests/s", "interactive", "standard", "batch tokens/s", "refused"]]
    for one in sorted(found, key=lambda one: (one.scene.workload, one.scene.fleet, -one.rate)):
        tiers = one.at_rate
        rows.append(
            [
                f"{one.scene.workload}, {one.scene.fleet}, seed {one.scene.seed}",
                one.scene.arm,
                f"{one.rate:.1f}",
                f"{tiers['interactive'].met_ratio:.1%}",
                f"{tiers['standard'].met_ratio:.1%}",
                f"{tiers['batch'].output_tokens_per_s:.0f}",
                _refused(tiers),
            ]
        )
    print(markdown_table(rows))
    return found


def _judge_goodput(found: Sequence[goodput.Goodput], console: Console) -> bool:
    passed = True
    for group, gain in goodput.gains(found).items():
        must = goodput.MUST.get(group)
        ok = must is None or gain >= must
        passed &= ok
        limit = "" if must is None else f" (must: {must}, {'met' if ok else 'FALLS SHORT'})"
        console.print(f"goodput over the best baseline, {group}: {gain:.2f}{limit}")
    return passed


def _overload(given: argparse.Namespace) -> list[overload.Survived]:
    scenes = [
        replace(one, warmup_s=LULL_S, measure_s=STORM_S + LULL_S)
        for one in _scenes(given, [OURS, *(arm for arm in given.arms if arm == "lmetric")])
    ]
    jobs = [overload.Storm(scene=one, capacity=_capacity(one), lasts_s=STORM_S) for one in scenes]
    survived = [one for _, one in play_each(jobs, overload.endure, processes=given.jobs)]
    rows = [
        ["where", "arm", "when", "interactive", "standard", "batch served", "longest wait s",
         "refused"]
    ]  # fmt: skip
    for one in survived:
        for when, tiers in (("1.3 x capacity", one.during), ("after", one.after)):
            waits = [found.longest_wait_s or 0.0 for found in tiers.values()]
            rows.append(
                [
                    f"{one.scene.workload}, {one.scene.fleet}, seed {one.scene.seed}",
                    one.scene.arm,
                    when,
                    f"{tiers['interactive'].met_ratio:.1%}",
                    f"{tiers['standard'].met_ratio:.1%}",
                    f"{tiers['batch'].met_ratio:.1%}",
                    f"{max(waits):.1f}",
                    _refused(tiers),
                ]
            )
    print(markdown_table(rows))
    return survived


def _judge_overload(survived: Sequence[overload.Survived], console: Console) -> bool:
    passed = True
    for one in survived:
        if one.scene.arm != OURS:
            continue
        met = one.during["interactive"].met_ratio
        ok = met >= overload.LEAST_MET and not one.unexplained and not one.unfinished
        passed &= ok
        console.print(
            f"{_name(one.scene)}: {met:.1%} of interactive requests served as promised "
            f"(must: 90 %), {one.unexplained} refused without a reason, "
            f"{one.unfinished} left over: {'met' if ok else 'FALLS SHORT'}",
            soft_wrap=True,
        )
    return passed


def _name(scene: Scene) -> str:
    return f"{scene.workload} on {scene.fleet}, seed {scene.seed}, {scene.arm}"


def _refused(tiers: Figures) -> str:
    counts = [
        f"{tier} {count} {reason}"
        for tier, found in tiers.items()
        for reason, count in sorted(found.refused.items())
    ]
    return ", ".join(counts) or "none"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.flow_control",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--part", choices=("goodput", "overload"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--workloads", type=_list)
    parser.add_argument("--fleets", type=_list, default=list(FLEETS))
    parser.add_argument("--arms", type=_arms)
    parser.add_argument("--seeds", type=_numbers, default=list(SEEDS))
    parser.add_argument("--jobs", type=int, default=cores())
    given = parser.parse_args(arguments)
    if given.workloads is None:
        given.workloads = list(WORKLOADS[:1] if given.quick else WORKLOADS)
    if given.arms is None:
        given.arms = [*(QUICK_BASELINES if given.quick else BASELINES), UNHELD, OURS]
    return given


def _list(text: str) -> list[str]:
    return text.split(",")


def _arms(text: str) -> list[str]:
    names = text.split(",")
    known = (*ARMS, UNHELD)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"unknown: {', '.join(unknown)}; known: {', '.join(known)}"
        )
    return names


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    run_command(main)
