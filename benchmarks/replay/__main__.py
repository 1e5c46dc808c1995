"""How far ``foretoken replay`` may be believed, in worlds whose truth is known.

    python -m benchmarks.replay [--quick] [--only SCENE] [--json PATH] [--jobs N] [--data DIR]

Records a simulated fleet of machines in no table under one policy, asks the replay of that
trace what other policies or fewer endpoints would have done, and plays these in the world
itself. With the data folder, one recorded run of real vLLM is fitted on its first part and
judged on the rest, too. Exit status 1 where a must falls short.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import command
from benchmarks.prediction import DEFAULT_DATA
from benchmarks.replay.real_engine import real_engine
from benchmarks.replay.worlds import Scene, Shown, Told, show
from foretoken.simulation.comparison import cores
from foretoken.simulation.jobs import play_each

SCENES: Final = (
    Scene(
        name="chat",
        workload="sharegpt-chat",
        fleet="mixed-8b",
        rate=20.0,
        policy="lmetric",
        others=("predicted_latency", "least_request"),
        lasts_s=200.0,
    ),
    Scene(
        name="one-turn",
        workload="sharegpt",
        fleet="mixed-8b",
        rate=24.0,
        policy="least_request",
        others=("lmetric", "predicted_latency"),
        lasts_s=120.0,
    ),
    Scene(
        name="shared prompts",
        workload="post-c",
        fleet="ten-qwen3-32b-h100",
        rate=4.0,
        policy="predicted_latency",
        others=("lmetric", "round_robin"),
        lasts_s=250.0,
    ),
    Scene(
        name="two fewer",
        workload="sharegpt-chat",
        fleet="eight-8b-h100",
        rate=40.0,
        policy="lmetric",
        others=("lmetric", "predicted_latency"),
        lasts_s=120.0,
        without=2,
    ),
)
QUICK: Final = ("chat",)
QUICK_S: Final = 100.0

MOST_ERROR: Final = 0.10
"""Of the recorded policy's mean, p50 and p90 played again, at the median of the figures."""
MOST_OFF: Final = 0.10
"""By which a ratio may be off at the median."""
LEAST_RIGHT: Final = 0.9
"""Share of the differences above ``CLEAR`` whose direction the replay has right, of those it
calls differences."""
CLEAR: Final = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the scenes, print the tables, judge them."""
    given = _parse(arguments)
    scenes = [one for one in SCENES if not given.only or one.name in given.only]
    if given.quick:
        scenes = [replace(one, lasts_s=QUICK_S) for one in scenes if one.name in QUICK]
    console = Console()
    console.width = max(console.width, 120)
    shown: dict[int, Shown] = {}
    for index, each in play_each(scenes, show, processes=given.jobs):
        shown[index] = each
        Console(stderr=True).print(f"{each.scene.name}: done, {len(shown)} of {len(scenes)}")
    found = [shown[index] for index in range(len(scenes))]
    console.print(_errors_table(found), _told_table(found))
    judged = musts(found)
    real = None if given.quick else real_engine(given.data)
    if real is not None:
        console.print(real.table)
    for name, (value, holds) in judged.items():
        console.print(f"{'holds' if holds else 'FALLS SHORT'}: {name}: {value}")
    if given.json is not None:
        document = {
            "scenes": [asdict(each) for each in found],
            "musts": {
                name: {"value": value, "holds": holds} for name, (value, holds) in judged.items()
            },
            "real_engine": None if real is None else real.document,
        }
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0 if all(holds for _, holds in judged.values()) else 1


def musts(shown: Sequence[Shown]) -> dict[str, tuple[str, bool]]:
    """Give what each must found, and whether it holds."""
    errors = [
        abs(error)
        for each in shown
        for name, error in each.errors.items()
        if not name.endswith("p99_s")
    ]
    told = [each for one in shown for each in one.told]
    off = median(abs(each.said / each.true - 1.0) for each in told)
    clear = [each for each in told if abs(each.true - 1.0) > CLEAR and not each.within_error]
    right = float(np.mean([_same_side(each) for each in clear])) if clear else 1.0
    return {
        f"recorded policy played again, median error at most {MOST_ERROR:.0%}": (
            f"{median(errors):.1%}, at worst {max(errors):.1%}",
            median(errors) <= MOST_ERROR,
        ),
        f"ratios between policies or fleets, median off at most {MOST_OFF:.0%}": (
            f"{off:.1%}, at worst {max(abs(each.said / each.true - 1.0) for each in told):.1%}",
            off <= MOST_OFF,
        ),
        f"direction of true differences above {CLEAR:.0%} right in {LEAST_RIGHT:.0%}": (
            f"{right:.0%} of {len(clear)}",
            right >= LEAST_RIGHT,
        ),
    }


def _same_side(each: Told) -> bool:
    return (each.said - 1.0) * (each.true - 1.0) > 0


def _errors_table(shown: Sequence[Shown]) -> Table:
    table = Table(title="The recorded policy played again, off by")
    names = (
        "ttft_mean_s",
        "ttft_p50_s",
        "ttft_p90_s",
        "tpot_mean_s",
        "tpot_p90_s",
        "e2e_mean_s",
        "e2e_p90_s",
    )
    for index, name in enumerate(("scene", "recorded", "requests", "verdict", *names)):
        table.add_column(
            name.removesuffix("_s").replace("_", "\n"), justify="right" if index > 1 else "left"
        )
    for each in shown:
        cells = [f"{each.errors[name]:+.1%}" if name in each.errors else "-" for name in names]
        table.add_row(
            each.scene.name, each.scene.policy, f"{each.requests:,}", each.verdict, *cells
        )
    return table


def _told_table(shown: Sequence[Shown]) -> Table:
    table = Table(title="What it says of others, as a ratio to what was recorded (true / said)")
    names = list(dict.fromkeys(each.figure for one in shown for each in one.told))
    for index, name in enumerate(("scene", "asked", *names)):
        table.add_column(
            name.removesuffix("_s").replace("_", "\n"), justify="right" if index > 1 else "left"
        )
    for one in shown:
        for policy in one.scene.others:
            cells = {each.figure: each for each in one.told if each.policy == policy}
            table.add_row(
                one.scene.name,
                policy,
                *(_cell(cells[name]) if name in cells else "-" for name in names),
            )
    table.caption = "≈ the replay says that it cannot tell it from no difference"
    return table


def _cell(each: Told) -> str:
    return f"{each.true:.2f} / {'≈' if each.within_error else ''}{each.said:.2f}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one scene, shorter")
    parser.add_argument("--only", action="append", choices=[one.name for one in SCENES])
    parser.add_argument("--json", type=Path, help="write the figures here, too")
    parser.add_argument("--jobs", type=int, default=cores(), help="scenes at once")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="data folder")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    command.run(main)
