"""One JSON file per run, so that a stopped matrix goes on where it was.

A file holds the settings its run was played with; a run is played again only when its
file is missing or its settings differ. The code's version is noted and not compared: a
commit that changes no behaviour must not cost hours, so delete the folder after one that
does.
"""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.policies.cells import Cell
from benchmarks.policies.scenarios import Scenario
from foretoken.errors import FileNotWritable
from foretoken.output_file import write_whole
from foretoken.simulation.jobs import Job
from foretoken.simulation.report import json_text

LAYOUT: Final = 1
"""Of a result file; a change of what a figure means is a change of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Pair a run with the cell it belongs to.

    Attributes:
        cell: Its cell.
        job: What to play.
        definitions: Digest of the workload and the fleet as defined.
        scenario: What happens meanwhile, ``None`` for nothing.
    """

    cell: Cell
    job: Job
    definitions: str
    scenario: Scenario | None = None

    def path(self, folder: Path) -> Path:
        """Say where its result lies."""
        folder /= (
            self.cell.name if self.scenario is None else f"{self.cell.name}@{self.scenario.name}"
        )
        return folder / f"{self.job.policy}-seed{self.job.seed}.json"

    def settings(self) -> dict[str, object]:
        """Give everything its result depends on, except the code."""
        job = {name: value for name, value in asdict(self.job).items() if name != "data"}
        found = {"layout": LAYOUT, "load": self.cell.load, "defined": self.definitions, **job}
        return found if self.scenario is None else {**found, "scenario": repr(self.scenario)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Hold what a result file says.

    Attributes:
        cell: Cell of the run.
        policy: Its arm.
        seed: Its seed.
        rate: Requests a second, or users.
        windows_s: Warm-up and measured seconds.
        steady: Steady-state figures by name.
        transient: Figures of what came before.
        truncated: Whether the run was cut.
    """

    cell: Cell
    policy: str
    seed: int
    rate: float
    windows_s: tuple[float, float]
    steady: Mapping[str, float | None]
    transient: Mapping[str, float | None]
    truncated: bool


def digest(*definitions: object) -> str:
    """Give a short digest of what describes itself by ``repr``.

    >>> digest("a") == digest("a") != digest("b")
    True
    """
    return hashlib.sha256("\n".join(map(repr, definitions)).encode()).hexdigest()[:16]


def is_done(planned: Planned, folder: Path) -> bool:
    """Tell whether a run was already played with the same settings."""
    return read(planned, folder) is not None


def write(planned: Planned, folder: Path, run: Mapping[str, object], code: str) -> None:
    """Keep a run's figures; a reader never sees half a file.

    Raises:
        FileNotWritable: They cannot be written, or the disk is full.
    """
    path = planned.path(folder)
    document = {"settings": planned.settings(), "code": code, "run": run}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotWritable(f"{path.parent}: {error.strerror}") from error
    write_whole(path, json_text(document).encode())


def records(planned: Iterable[Planned], folder: Path) -> list[Record]:
    """Read the results there are, in the order of the plan."""
    found = ((each, read(each, folder)) for each in planned)
    return [_record(each, run) for each, run in found if run is not None]


def code_version(root: Path) -> str:
    """Name the commit, and whether the tree differs from it; ``unknown`` outside git."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"],  # noqa: S607  # git is where the user has it
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return described.stdout.strip() or "unknown"


# Any: a JSON document, as written to disk.
def read(planned: Planned, folder: Path) -> dict[str, Any] | None:
    """Give a run's result, ``None`` unless it is whole and of the same settings."""
    try:
        document = json.loads(planned.path(folder).read_text())
        same = document["settings"] == json.loads(json_text(planned.settings()))
        run: dict[str, Any] = document["run"]
        whole = {"steady", "transient", "truncated"} <= run.keys()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return run if same and whole else None


def _record(planned: Planned, run: Mapping[str, Any]) -> Record:
    return Record(
        cell=planned.cell,
        policy=planned.job.policy,
        seed=planned.job.seed,
        rate=planned.job.rate,
        windows_s=(planned.job.warmup_s, planned.job.measure_s),
        steady=run["steady"],
        transient=run["transient"],
        truncated=run["truncated"],
    )
