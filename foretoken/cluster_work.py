"""What the workers of a cluster do: look at their share of a trace, and train on it.

Called by :mod:`foretoken.cluster` through Dask, in processes of the cluster's. LightGBM's
own distributed learner does the rest: each worker counts its rows' bins, and all of them
agree on every split over sockets of their own.
"""

import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from collectors.trace_batches import Stretch, TraceBatches
from collectors.trace_reader import TraceProblem
from predictor import MODEL_SCHEMA, TrainingSettings
from predictor.binned import Basis, Binned
from predictor.features import SCHEMA_HASH
from predictor.survey import Seen, Survey

_AGREE = ("dask", "distributed", "lightgbm", "numpy", "pyarrow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Name the part of a fleet's trace that one worker reads.

    Attributes:
        fleet: Whose.
        stretches: Which.
    """

    fleet: str
    stretches: tuple[Stretch, ...]

    def batches(self) -> TraceBatches:
        """Open it; what cannot be read ends the work, for the others count on it."""
        return TraceBatches([], on_problem=_refuse).only(self.stretches)


def facts() -> dict[str, str]:
    """Tell what everyone who trains together must have alike."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    schemas = {"feature schema": SCHEMA_HASH, "model schema": MODEL_SCHEMA}
    return {"python": python, **{name: version(name) for name in _AGREE}, **schemas}


def sizes(paths: Sequence[str]) -> list[int | None]:
    """Give the sizes of files in bytes, ``None`` where there is no such file."""
    return [Path(path).stat().st_size if Path(path).is_file() else None for path in paths]


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on."""
    taken = [socket.create_server(("", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in taken]
    for one in taken:
        one.close()
    return ports


def look(share: Share, *, newest_rows: int, sampled_rows: int) -> Seen:
    """Look at all rows of a share once.

    Raises:
        OSError: A file cannot be read.
    """
    tables = share.batches().tables(share.fleet)
    return Survey(tables, newest_rows=newest_rows, sampled_rows=sampled_rows).seen


def train(
    share: Share, count: int, basis: Basis, *, most_rows: int, settings: TrainingSettings
) -> tuple[dict[str, str], int]:
    """Train on a share together with the others; give all trees, and the rows taken.

    Raises:
        OSError: A file cannot be read.
        TrainingRefused: The share is not what it was.
    """
    batches = share.batches()
    binned = Binned(lambda: batches.tables(share.fleet), count, basis, most_rows=most_rows)
    return binned.trees(settings), binned.rows


def _refuse(problem: TraceProblem) -> None:
    raise OSError(f"{problem.path}: {problem.reason}")
