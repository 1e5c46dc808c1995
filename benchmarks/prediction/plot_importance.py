"""What our predictor leans on: features of its trees, experts of its mixture."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import lightgbm
import numpy as np

from benchmarks.prediction.panels import block_means, grid, label, save
from benchmarks.prediction.plays import Kept
from benchmarks.prediction.replay import weights
from benchmarks.prediction.rowset import TARGETS
from predictor import EXPERTS, ModelSnapshot
from predictor.boosted import KINDS
from predictor.features import NAMES
from predictor.types import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INPUTS: Final = (*NAMES, "physics: TTFT", "physics: TPOT")
"""Inputs of the trees, as :func:`predictor.boosted.tree_inputs` lays them out."""
SHOWN: Final = 10
BLOCK: Final = 50
"""Labels that weights are averaged over."""
_COLOURS: Final = {
    "smooth": "#b8b8b8", "prior": "#7d7d7d", "prior_bias": "#edae49", "prior_river": "#f6d8a0",
    "ratio": "#d1495b", "ratio_bias": "#e79aa4", "direct": "#30638e", "fleet_bias": "#66a182",
}  # fmt: skip


def draw_importance(kept: Kept, path: Path) -> Path:
    """Draw gain by feature in the last model, and the experts' weights over time."""
    figure, panels = grid(f"{kept.rows.name}, live label delay", 2)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width * 1.6, height * 1.25)
    shares = weights(kept)
    for row, target in enumerate(TARGETS):
        _gain(panels[0][row], gains(kept.model, target), target)
        _weights(panels[1][row], shares[target], target)
    handles, names = panels[1][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=8, frameon=False, fontsize=7.5)
    return save(figure, path)


def gains(model: ModelSnapshot | None, target: str) -> dict[str, FloatArray]:
    """Give each kind of trees' shares of gain by input, ``(n_inputs,)``; none untrained."""
    found = {}
    for kind in KINDS:
        text = None if model is None else model.trees.get(f"{target}_{kind}")
        if text is not None:
            gain = lightgbm.Booster(model_str=text).feature_importance("gain")
            found[kind] = gain / max(float(gain.sum()), 1e-12)
    return found


def _gain(panel: "Axes", found: dict[str, FloatArray], target: str) -> None:
    if not found:
        panel.text(0.5, 0.5, "no model yet", ha="center", transform=panel.transAxes)
        return
    order = np.argsort(np.max(list(found.values()), axis=0))[-SHOWN:]
    for offset, (kind, gain) in zip((0.2, -0.2), found.items(), strict=False):
        panel.barh(
            np.arange(SHOWN) + offset, gain[order] * 100, height=0.38, color=_COLOURS[kind],
            label=f"trees on {'ratio' if kind == 'ratio' else 'target'}",
        )  # fmt: skip
    panel.set_yticks(np.arange(SHOWN), [INPUTS[index] for index in order])
    panel.legend(frameon=False, fontsize=7, loc="lower right")
    label(panel, title=f"{target.upper()}: what the trees split on", x="share of gain [%]")


def _weights(panel: "Axes", share: FloatArray, target: str) -> None:
    means = block_means(share, min(BLOCK, max(len(share), 1)))
    at = (np.arange(len(means)) + 0.5) * BLOCK
    columns = [EXPERTS.index(name) for name in _COLOURS]
    panel.stackplot(
        at, means[:, columns].T * 100, labels=list(_COLOURS), colors=list(_COLOURS.values())
    )
    panel.set(ylim=(0, 100), xlim=(at[0], at[-1]) if len(at) > 1 else (0, BLOCK))
    label(
        panel,
        title=f"{target.upper()}: who is heard",
        x="label, in order of dispatch",
        y="weight [%]",
    )
