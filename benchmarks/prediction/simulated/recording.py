"""What a predictor could know in one simulated run, in the order it could know it.

A recording holds, for each dispatch, the feature rows of all candidates and which was
chosen, and each label with the time it came. So any predictor can be asked afterwards
what it would have said, on the very rows and labels of the run, by predicting and
learning in the order of the events (:mod:`benchmarks.prediction.simulated.player`).
Kept as compressed NumPy arrays; nothing in a file is executed when it is read.
"""

import json
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from foretoken.errors import ForetokenError
from foretoken.output_file import write_whole
from predictor.features import SCHEMA_HASH
from predictor.types import FloatArray

IntArray = NDArray[np.int64]

Kind = Literal["dispatch", "ttft", "tpot", "tpot_early", "lost"]
KINDS: Final[tuple[Kind, ...]] = ("dispatch", "ttft", "tpot", "tpot_early", "lost")
"""Of events. ``tpot`` is the label at the end, ``tpot_early`` the mean gap some seconds
after the first token; ``lost`` is the end of a dispatch that never completed."""


class RecordingInvalid(ForetokenError):
    """A recording cannot be read, or is of another feature table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """Hold the labels that ``k`` sampled dispatches have in replays, of ``r`` each.

    Attributes:
        dispatch: ``(k,)`` which dispatches.
        noise_s: ``(k, 2, r)`` TTFT and TPOT in replays that differ in step noise only.
        future_s: ``(k, 2, r)`` likewise where the later arrivals and how long the answers
            of the others get differ too.
    """

    dispatch: IntArray
    noise_s: FloatArray
    future_s: FloatArray


NO_FLOORS: Final = Floors(
    dispatch=np.zeros(0, dtype=np.int64),
    noise_s=np.zeros((0, 2, 0)),
    future_s=np.zeros((0, 2, 0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Hold one run of ``n`` dispatches at ``e`` endpoints and its ``m`` events.

    Attributes:
        name: Of the cell.
        about: What was played: workload, fleet, load, rate, seed.
        endpoints: Names of the endpoints.
        hardware: The label of each, ``None`` where the scheduler was told none.
        features: ``(n, e, n_features)`` rows at dispatch; NaN where one was no candidate.
        candidate: ``(n, e)`` whether it was one.
        chosen: ``(n,)`` index of the endpoint dispatched to.
        said_s: ``(n, 2, 1 + n_levels)`` what the deciding predictor said of TTFT and TPOT
            there: mean and quantiles; NaN where it was none.
        event_s: ``(m,)`` time of each event, ascending.
        event_kind: ``(m,)`` index into ``KINDS``.
        event_dispatch: ``(m,)`` index of the dispatch it belongs to.
        event_value_s: ``(m,)`` the label in seconds; NaN for a dispatch.
        event_tokens: ``(m,)`` output tokens the label covers, 0 where none.
        floors: Replays of sampled dispatches.
    """

    name: str
    about: dict[str, float | str]
    endpoints: tuple[str, ...]
    hardware: tuple[str | None, ...]
    features: FloatArray
    candidate: NDArray[np.bool_]
    chosen: IntArray
    said_s: FloatArray
    event_s: FloatArray
    event_kind: IntArray
    event_dispatch: IntArray
    event_value_s: FloatArray
    event_tokens: IntArray
    floors: Floors

    def __len__(self) -> int:
        return len(self.chosen)

    def labels_s(self) -> FloatArray:
        """Give the final labels, ``(n, 2)`` seconds by target; NaN where there is none."""
        labels = np.full((len(self), 2), np.nan)
        for target, kind in enumerate(("ttft", "tpot")):
            of_kind = self.event_kind == KINDS.index(kind)
            labels[self.event_dispatch[of_kind], target] = self.event_value_s[of_kind]
        return labels

    def dispatched_s(self) -> FloatArray:
        """Give the time of each dispatch, ``(n,)``."""
        at_s = np.empty(len(self))
        sent = self.event_kind == KINDS.index("dispatch")
        at_s[self.event_dispatch[sent]] = self.event_s[sent]
        return at_s


_ARRAYS: Final = (
    "features", "candidate", "chosen", "said_s", "event_s", "event_kind", "event_dispatch",
    "event_value_s", "event_tokens",
)  # fmt: skip


def write_recording(path: Path, recording: Recording) -> None:
    """Write a recording to a file.

    Raises:
        FileNotWritable: It cannot be written.
    """
    about = {
        "name": recording.name,
        "about": recording.about,
        "endpoints": recording.endpoints,
        "hardware": recording.hardware,
        "schema": SCHEMA_HASH,
    }
    arrays = {name: getattr(recording, name) for name in _ARRAYS}
    arrays |= {
        f"floors_{part.name}": getattr(recording.floors, part.name) for part in fields(Floors)
    }
    content = BytesIO()
    np.savez_compressed(content, about=np.array(json.dumps(about)), **arrays)
    write_whole(path, content.getvalue())


def read_recording(path: Path) -> Recording:
    """Read a recording.

    Raises:
        RecordingInvalid: It is no recording, or of another feature table.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays.pop("about")))
        floors = Floors(**{part.name: arrays.pop(f"floors_{part.name}") for part in fields(Floors)})
        recording = Recording(
            name=about["name"],
            about=about["about"],
            endpoints=tuple(about["endpoints"]),
            hardware=tuple(about["hardware"]),
            floors=floors,
            **{name: arrays[name] for name in _ARRAYS},
        )
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise RecordingInvalid(f"{path}: no recording of a simulated run ({error})") from error
    if about["schema"] != SCHEMA_HASH:
        raise RecordingInvalid(
            f"{path}: recorded with feature table {about['schema']}, this code has "
            f"{SCHEMA_HASH}; record again"
        )
    return recording
