"""Draw the memory of each training over its time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt


# Any: figures of every kind, as they were written.
def draw(results: Sequence[dict[str, Any]], memory_gib: float, path: Path) -> None:
    """Draw a curve a trace, and the bound."""
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for one in results:
        at_s, gib = zip(*one["curve"], strict=True)
        axes.plot(
            at_s, gib, label=f"{one['rows'] / 1e6:g} million rows ({one['trace_gib']:.2g} GiB)"
        )
    axes.axhline(memory_gib, color="0.4", linestyle="--", linewidth=1)
    axes.annotate(
        f"--memory {memory_gib:g}",
        (0, memory_gib),
        xytext=(4, -12),
        textcoords="offset points",
        color="0.3",
    )
    axes.set(xlabel="seconds since the start", ylabel="resident memory [GiB]", ylim=(0, None))
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(0.94, 0.03))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=140)
    plt.close(figure)
