"""How good the predictor is, prequential: predict, then learn, in arrival order.

    python -m benchmarks.prediction [--data DIR] [--json PATH] [--quick]
        [--only PART ...] [--sets NAME ...] [--reference-http TRAIN PREDICT]
        [--page PATH] [--plots DIR]

Parts: ``rows`` (:mod:`recorded <benchmarks.prediction.recorded>`): every recorded set in
the data folder, beside llm-d's predictor. ``ablation`` (:mod:`ablation
<benchmarks.prediction.ablation>`): the same sets with each expert off. ``cost``
(:mod:`cost <benchmarks.prediction.cost>`): CPU time beside llm-d's. ``simulated``
(:mod:`simulated <benchmarks.prediction.simulated>`): a mixed fleet in virtual time. ``http``
(:mod:`over_http <benchmarks.prediction.over_http>`): its own servers beside our copy,
where they are named.
Tables go to the terminal and, by ``--page``, into the marked places of a Markdown page;
``--plots`` draws what was played (and plays it where no part did).
Exits with 1 where a must falls short.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.command import run
from benchmarks.prediction import ablation, cost, over_http, recorded
from benchmarks.prediction.pages import Pages
from benchmarks.prediction.panels import require_matplotlib
from benchmarks.prediction.plays import Plays
from benchmarks.prediction.plots import draw
from benchmarks.prediction.rowset import DEFAULT_DATA
from benchmarks.prediction.simulated import part as simulated

Part = Callable[[argparse.Namespace, Console], tuple[dict[str, object], bool]]
"""From the options and where to print to what goes to JSON, and whether all musts are met."""


def parts(plays: Plays, pages: Pages) -> dict[str, Part]:
    """Name the parts; they share what is played and where tables go."""
    return {
        "rows": partial(recorded.main_part, plays=plays, pages=pages),
        "ablation": partial(ablation.main_part, plays=plays, pages=pages),
        "cost": partial(cost.main_part, plays=plays, pages=pages),
        "simulated": partial(simulated.main_part, pages=pages),
        "http": over_http.main_part,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts; 1 where a must falls short."""
    given = _parse(arguments)
    if given.plots is not None:
        require_matplotlib()
    console, document, met = Console(), dict[str, object](), True
    first = recorded.QUICK_REQUESTS if given.quick else None
    plays, pages = Plays(given.data, given.sets, first=first), Pages()
    for name, part in parts(plays, pages).items():
        if given.only is None or name in given.only:
            document[name], well = part(given, console)
            met = met and well
    if given.json is not None:
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    if given.page is not None:
        pages.fill(given.page)
    if given.plots is not None:
        draw(plays, given.plots)
    return int(not met)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__)
    names = tuple(parts(Plays(DEFAULT_DATA), Pages()))
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--quick", action="store_true", help="the first requests of each set, unjudged"
    )
    parser.add_argument("--only", nargs="+", choices=names, metavar="PART", help="run these parts")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="play these recorded sets")
    parser.add_argument("--page", type=Path, help="Markdown whose marked tables to replace")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="draw PNG files there")
    parser.add_argument(
        "--reference-http",
        nargs=2,
        metavar=("TRAIN", "PREDICT"),
        help="addresses of llm-d's training and prediction servers, to play them too",
    )
    parser.add_argument("--http-speed", type=float, default=5.0, help="seconds a second there")
    given = parser.parse_args(arguments)
    if not (given.data / "latency").is_dir():
        parser.error(f"{given.data / 'latency'} is not there; name the data folder with --data")
    if given.page is not None and not given.page.is_file():
        parser.error(f"{given.page} is not there; --page names a page with places for tables")
    return given


if __name__ == "__main__":
    run(main)
