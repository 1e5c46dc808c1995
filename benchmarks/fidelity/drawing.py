"""Pictures of the fidelity benchmark; matplotlib comes with the extra ``plots``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fidelity.play import Played
from benchmarks.fidelity.rows import Row

REAL, OURS = "#444444", "#d1495b"
SIZE_INCHES: Final = (8.0, 4.2)


def draw_replay(path: Path, real: np.ndarray, runs: Sequence[Played]) -> None:
    """Draw running and waiting requests by second, each seed's beside the recorded ones.

    Args:
        path: A PNG.
        real: ``(n, 3)``: second, running, waiting.
        runs: One per seed.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # an extra

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    panels = figure.subplots(2, 1, sharex=True)
    for panel, column, name in zip(panels, (1, 2), ("running", "waiting"), strict=True):
        for number, run in enumerate(runs):
            seconds = [second.at_s for second in run.seconds]
            counts = [getattr(second, name) for second in run.seconds]
            label = f"simulated, {len(runs)} seeds" if not number else None
            panel.plot(seconds, counts, color=OURS, linewidth=1, alpha=0.7, label=label)
        panel.plot(real[:, 0], real[:, column], color=REAL, linewidth=1.6, label="vLLM 0.19")
        panel.set_ylabel(f"{name} requests")
        panel.set_ylim(bottom=0)
    panels[0].legend(frameon=False, loc="lower center")
    panels[0].set_title("300 ShareGPT requests, Llama-3.1-8B on RTX PRO 6000")
    panels[1].set_xlabel("seconds since the first request")
    figure.savefig(path)


def draw_multiturn(path: Path, rows: Sequence[Row]) -> None:
    """Draw hit rate and preemptions against the number of clients.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415  # an extra

    figure = Figure(figsize=(SIZE_INCHES[0], 3.2), layout="constrained")
    panels = figure.subplots(1, 2)
    for panel, quantity in zip(panels, ("prefix hit rate", "preemptions"), strict=True):
        chosen = [row for row in rows if row.quantity == quantity]
        clients = [int(row.data.split()[-2]) for row in chosen]
        ours = [float(np.median(row.simulated)) for row in chosen]
        known = [(count, row.real) for count, row in zip(clients, chosen, strict=True)]
        recorded = [(count, value) for count, value in known if value is not None]
        panel.plot(clients, ours, color=OURS, marker="o", label="simulated")
        panel.plot(*zip(*recorded, strict=True), color=REAL, marker="s", label="vLLM 0.15")
        panel.set_xscale("log", base=2)
        panel.set_xticks(clients, [str(count) for count in clients])
        panel.set_xlabel("clients, closed loop")
        panel.set_ylabel(quantity)
        panel.set_ylim(bottom=0)
    panels[0].legend(frameon=False)
    figure.suptitle("Multi-turn chats, 70B on B200; above 128 clients nothing is recorded")
    figure.savefig(path)
