"""How well the simulated endpoint fits recorded vLLM.

    python -m benchmarks.fidelity [--data DIR] [--json PATH] [--images DIR] [--quick]

Four data sets: engine steps (``steps``), time per output token by batch size
(``decoding``), a recorded run, step by step (``recorded_steps``) and replayed (``replay``),
and multi-turn chats (``multiturn``). Each row
compares one recorded number with the simulator's, three seeds of step noise; rows with a
limit must keep it in every seed. Exits with 1 where one does not. ``--images`` draws the
replay beside the recorded run (needs the extra ``plots``).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks.fidelity import decoding, multiturn, recorded_steps, replay, steps
from benchmarks.fidelity.drawing import draw_multiturn, draw_replay
from benchmarks.fidelity.rows import Row
from benchmarks.prediction import DEFAULT_DATA
from simulator.profiles import profile

SEEDS: Final = (1, 2, 3)
QUICK_SEEDS: Final = (1,)
QUICK_CLIENTS: Final = (32, 128)
REPLAYED: Final = (
    "Llama-3.1-8B",
    "sharegpt-llama-3.1-8b-300-sps10.jsonl",
    "rtx_pro_6000/llama-3.1-8b",
)
REPLAYED_DATA: Final = "vllm-rtxpro6000 8B"
VERDICTS: Final = {True: "[green]pass[/green]", False: "[red]FAIL[/red]", None: "shown"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print and draw; 1 where a limit is broken."""
    given = _parse(arguments)
    rows = compare(given.data, quick=given.quick, images=given.images)
    Console().print(table(rows))
    if given.json is not None:
        given.json.write_text(json.dumps([as_json(row) for row in rows], indent=2) + "\n")
    return int(any(row.passes is False for row in rows))


def compare(data: Path, *, quick: bool, images: Path | None) -> list[Row]:
    """Give all rows; pictures go to ``images`` where it is given."""
    console, seeds = Console(stderr=True), QUICK_SEEDS if quick else SEEDS
    with console.status("engine steps on H100"):
        rows = steps.rows(data)
    with console.status("time per output token on H200"):
        rows += decoding.rows(data, seeds)
    with console.status("replay on RTX PRO 6000"):
        recording = replay.read(data, *REPLAYED)
        runs = replay.replay(recording, seeds)
        rows += recorded_steps.rows(
            REPLAYED_DATA, recording.served, recording.budget, profile(recording.profile)
        )
        rows += replay.rows(REPLAYED_DATA, recording, runs)
    with console.status("multi-turn chats on B200"):
        chats = multiturn.rows(data, seeds, QUICK_CLIENTS if quick else multiturn.CLIENTS)
        chats += [] if quick else multiturn.beyond(data, SEEDS[0])
    if images is not None:
        images.mkdir(parents=True, exist_ok=True)
        draw_replay(images / "fidelity-replay.png", recording.seconds, runs)
        draw_multiturn(images / "fidelity-multiturn.png", chats)
    return rows + chats


def table(rows: Sequence[Row]) -> Table:
    """Lay the rows out."""
    shown = Table(
        "data", "what", "real", "simulated", "off by", "limit", "", "note",
        title="The simulated endpoint beside recorded vLLM",
    )  # fmt: skip
    for row in rows:
        shown.add_row(
            row.data,
            row.quantity,
            "-" if row.real is None else f"{row.real:.4g} {row.unit}",
            _spread(row.simulated),
            _deviation(row, row.deviation, "+"),
            _deviation(row, row.limit, ""),
            VERDICTS[row.passes],
            row.note,
        )
    return shown


def as_json(row: Row) -> dict[str, object]:
    """Give a row's numbers by name."""
    return {
        "data": row.data,
        "quantity": row.quantity,
        "unit": row.unit,
        "real": row.real,
        "simulated": list(row.simulated),
        "deviation": row.deviation,
        "limit": row.limit,
        "absolute": row.absolute,
        "passes": row.passes,
        "note": row.note,
    }


def _spread(values: Sequence[float]) -> str:
    low, high = f"{min(values):.4g}", f"{max(values):.4g}"
    return low if low == high else f"{low} to {high}"


def _deviation(row: Row, value: float | None, sign: str) -> str:
    if value is None:
        return "-"
    return f"{value:{sign}.3g}" if row.absolute else f"{value:{sign}.1%}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--images", type=Path, help="folder for the pictures")
    parser.add_argument("--quick", action="store_true", help="one seed, two client counts")
    given = parser.parse_args(arguments)
    if not (given.data / "latency").is_dir():
        parser.error(f"{given.data / 'latency'} is not there; name the data folder with --data")
    return given


if __name__ == "__main__":
    sys.exit(main())
