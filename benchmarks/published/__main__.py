"""Published runs of llm-d played again, beside what was published of them.

    python -m benchmarks.published [--only riddle|claims] [--quick] [--json PATH] [--jobs N]

``riddle`` (``riddle.py``): why b2b-saas saturates at 18 requests/s in a study and runs at
40 to 60 as published. ``claims`` (``claims.py``): whether llm-d's latency predictor does
beside its siblings as published. Claims are shown, not judged:
the exit status is 0. docs/decisions/published-runs.md has the conclusions.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.published.claims import CLAIMS, PREDICTOR, Claim
from benchmarks.published.riddle import (
    CHANGES,
    PUBLISHED,
    QUICK_CHANGES,
    STAGE,
    STEADY,
    guide_scene,
)
from benchmarks.published.scene import Reading, Scene, mean_reading, play
from foretoken.simulation.comparison import cores
from foretoken.simulation.figures import rounded
from foretoken.simulation.jobs import play_each

SEEDS: Final = (1, 2)
QUICK_SEEDS: Final = (1,)
QUICK_SHARE: Final = 0.5
"""Of a window that is measured; a ladder's stages keep their length."""
PARTS: Final = ("riddle", "claims")

Values = Mapping[str, object]
"""One row of a table, by column."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what was asked for, print the tables and write the document."""
    given = _parse(arguments)
    console, document = Console(), {}
    for part in (given.only,) if given.only else PARTS:
        tables = (riddle if part == "riddle" else claims)(quick=given.quick, jobs=given.jobs)
        document[part] = tables
        for title, rows in tables.items():
            console.print(_table(title, rows))
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    return 0


def riddle(*, quick: bool, jobs: int) -> dict[str, list[Values]]:
    """Play each lead alone and all together, then the guide's ladder."""
    changes = QUICK_CHANGES if quick else CHANGES
    scenes = [change.of(scene) for change in changes for scene in (STEADY, STAGE)]
    ladders = [guide_scene(policy, quick=quick) for policy in PUBLISHED]
    readings = _play([*ladders, *scenes], jobs, "riddle")
    steady, stage = readings[len(ladders) :: 2], readings[len(ladders) + 1 :: 2]
    return {
        "each lead": [
            _lead(change.name, *pair) for change, *pair in zip(changes, steady, stage, strict=True)
        ],
        **{
            f"the ladder, {policy}": _ladder_rows(policy, reading)
            for policy, reading in zip(PUBLISHED, readings[: len(ladders)], strict=True)
        },
    }


def claims(*, quick: bool, jobs: int) -> dict[str, list[Values]]:
    """Play every claim's scene with the predictor and its siblings; one row a sibling."""
    seeds = QUICK_SEEDS if quick else SEEDS
    keys: list[tuple[str, str]] = []
    scenes: list[Scene] = []
    for claim in CLAIMS:
        for policy in claim.published:
            if (key := _key(claim.scene, policy)) not in keys:
                keys.append(key)
                scenes += [_scene(claim.scene, policy, seed, quick=quick) for seed in seeds]
    readings = _play(scenes, jobs, "claims")
    count = len(seeds)
    means = {
        key: mean_reading(readings[index * count : (index + 1) * count])
        for index, key in enumerate(keys)
    }
    rows = [_verdict(claim, sibling, means) for claim in CLAIMS for sibling in claim.siblings]
    held = sum(row["holds"] == "yes" for row in rows)
    return {f"the predictor beside its siblings: {held} of {len(rows)} hold": rows}


def _key(scene: Scene, policy: str) -> tuple[str, str]:
    return policy, repr(replace(scene, policy=""))


def _scene(scene: Scene, policy: str, seed: int, *, quick: bool) -> Scene:
    measure_s = scene.measure_s * (QUICK_SHARE if quick else 1.0)
    return replace(scene, policy=policy, seed=seed, measure_s=measure_s)


def _verdict(
    claim: Claim, sibling: str, means: Mapping[tuple[str, str], Mapping[str, float]]
) -> Values:
    ours = {
        policy: means[_key(claim.scene, policy)][claim.figure] for policy in (PREDICTOR, sibling)
    }
    return {
        "claim": claim.name,
        "beside": sibling,
        "published": f"{claim.published[PREDICTOR]:.4g} / {claim.published[sibling]:.4g}",
        "ours": f"{ours[PREDICTOR]:.3g} / {ours[sibling]:.3g}",
        "published is": claim.direction(sibling),
        "our ratio": rounded(claim.ratio(ours, sibling)),
        "holds": "yes" if claim.holds(ours, sibling) else "NO",
    }


def _lead(name: str, steady: Reading, stage: Reading) -> Values:
    return {
        "setting": name,
        "steady, completed/s": round(steady.figures["completed_per_s"], 1),
        "hits": round(steady.figures["hit_ratio"], 2),
        "stage of 40/s: TTFT p50 s": round(stage.figures["ttft_p50_s@40"], 2),
        "p90 s": round(stage.figures["ttft_p90_s@40"], 2),
        "completed/s": round(stage.figures["requests_per_s@40"], 1),
        "input tokens/s": round(stage.figures["input_tokens_per_s@40"]),
    }


def _ladder_rows(policy: str, reading: Reading) -> list[Values]:
    rows: list[Values] = []
    for stage in reading.stages:
        report = PUBLISHED[policy].get(stage.rate)
        rows.append(
            {
                "rate": stage.rate,
                "requests": stage.requests,
                "completed/s": round(stage.requests_per_s, 1),
                "output tokens/s": round(stage.output_tokens_per_s),
                "published": report and report.output_tokens_per_s,
                "TTFT p50 s": round(stage.ttft_p50_s, 2),
                "published p50": report and report.ttft_p50_s,
                "TTFT p90 s": round(stage.ttft_p90_s, 2),
                "published p90": report and report.ttft_p90_s,
                "TPOT ms": round(stage.tpot_mean_s * 1e3, 1),
                "e2e s": round(stage.e2e_mean_s, 1),
                "hits": round(stage.hit_ratio, 2),
            }
        )
    return rows


def _play(scenes: Sequence[Scene], jobs: int, what: str) -> list[Reading]:
    found: dict[int, Reading] = {}
    console = Console(stderr=True)
    with console.status(f"{what}: {len(scenes)} runs") as status:
        for index, reading in play_each(scenes, play, processes=jobs):
            found[index] = reading
            status.update(f"{what}: {len(found)} of {len(scenes)} runs")
    return [found[index] for index in range(len(scenes))]


def _table(title: str, rows: Sequence[Values]) -> Table:
    table = Table(title=title)
    for index, name in enumerate(rows[0]):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    return table


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", choices=PARTS, help="default: both")
    parser.add_argument("--quick", action="store_true", help="one seed, fewer stages, half windows")
    parser.add_argument("--json", type=Path, help="write the tables here, too")
    parser.add_argument("--jobs", type=int, default=cores(), help="runs at once")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
