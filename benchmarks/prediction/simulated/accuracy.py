"""Errors beside the reference's on the same traffic, and beside the noise floors.

Our predictor decides in the run; the reference is asked afterwards, on the very rows and
labels (:mod:`~benchmarks.prediction.simulated.player`). It must not be better in any
span, by the median; the mean, which few requests decide, is shown. After 2,000 requests
the errors of sampled requests are compared with what nobody can know of them.
"""

from typing import Final

import numpy as np

from benchmarks.prediction.simulated.player import Asked, replay
from benchmarks.prediction.simulated.recording import Recording
from benchmarks.prediction.simulated.rows import Row
from benchmarks.prediction.simulated.scores import MEAN, SPANS, TARGETS, error, spread
from foretoken.simulation.llmd_predictor import RETRAIN_S, LlmdPredictor
from predictor.types import FloatArray

PART: Final = "accuracy"
WITHIN: Final = {"TTFT": 1.5, "TPOT": 1.25}
"""Multiples of the floor that the error of settled traffic may be."""
_LEAST_LABELS: Final = 30  # fewer tell nothing of a median


def ask_reference(recording: Recording) -> FloatArray:
    """Give what llm-d's predictor says in a recorded run, as ``Recording.said_s``."""
    reference = LlmdPredictor()
    return replay(
        recording,
        Asked(predictor=reference, train=reference.train, train_every_s=RETRAIN_S),
    )


def rows(recording: Recording) -> list[Row]:
    """Compare with the reference by span, and with the floors."""
    reference_s, labels_s = ask_reference(recording), recording.labels_s()
    found = []
    for target, name in enumerate(TARGETS):
        for span, (first, last) in SPANS.items():
            part = slice(first, last)
            ours = error(recording.said_s[part, target, MEAN], labels_s[part, target])
            theirs = error(reference_s[part, target, MEAN], labels_s[part, target])
            if ours.labels < _LEAST_LABELS:
                continue
            found.append(
                Row(
                    part=PART,
                    cell=recording.name,
                    quantity=f"{name} {span}",
                    ours=ours.mdape,
                    beside={"reference": theirs.mdape},
                    limit="better",
                    passes=ours.mdape < theirs.mdape,
                    note=f"mean {ours.mape:.1%} beside {theirs.mape:.1%}; {ours.labels} labels",
                )
            )
    return found + _beside_floors(recording, labels_s)


def _beside_floors(recording: Recording, labels_s: FloatArray) -> list[Row]:
    floors, found = recording.floors, []
    for target, name in enumerate(TARGETS):
        label_s = labels_s[floors.dispatch, target]
        ours = error(recording.said_s[floors.dispatch, target, MEAN], label_s)
        if ours.labels < _LEAST_LABELS:
            continue
        noise = spread(label_s, floors.noise_s[:, target])
        future = spread(label_s, floors.future_s[:, target])
        noise_floor, future_floor = float(np.nanmedian(noise)), float(np.nanmedian(future))
        found.append(
            Row(
                part=PART,
                cell=recording.name,
                quantity=f"{name} beside the floors",
                ours=ours.mdape,
                beside={"noise": noise_floor, "noise + future": future_floor},
                limit=f"{WITHIN[name]:g} x noise + future",
                passes=ours.mdape <= WITHIN[name] * future_floor,
                note=(
                    f"{ours.mdape / noise_floor:.1f} x and {ours.mdape / future_floor:.2f} x; "
                    f"mean {ours.mape:.1%} beside {np.nanmean(noise):.1%} and "
                    f"{np.nanmean(future):.1%}; {ours.labels} requests"
                ),
            )
        )
    return found
