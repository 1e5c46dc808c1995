"""``foretoken train``: from recorded traces to a published model version.

Traces are read a stretch of rows at a time and may be larger than memory; what is held is
bounded by ``--memory``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from collectors.trace_batches import TraceBatches
from collectors.trace_reader import TraceProblem
from foretoken.errors import ForetokenError, NothingToTrainOn
from foretoken.stores import open_store, store_errors
from foretoken.terminal import console_beside, plain, say_error, write_figures
from foretoken.trace_absence import absence
from foretoken.training import metrics, publish
from models_store import ModelsStore, Place
from predictor import TrainingRefused, TrainingSettings
from predictor.settings import PhysicsSettings
from predictor.streaming import Limits, Streamed, train_streamed
from predictor.table import Table as Rows

GIB: Final = 2**30
_BASE_BYTES: Final = int(1.4 * GIB)
"""What a training takes besides the rows in bins: libraries, a million rows to evaluate on."""
_ROW_BYTES: Final = 120
"""What one row takes: its bins, labels and weights, LightGBM's scores and gradients."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """Say how to train.

    Attributes:
        store: Where versions are published.
        json_path: Where figures are written.
        memory_gib: What the process may take, or each worker of a cluster.
        dask: Address of a cluster's scheduler, ``None`` to train here.
    """

    store: Place
    json_path: Path | None = None
    memory_gib: float = 4.0
    dask: str | None = None

    @property
    def limits(self) -> Limits:
        """Give what may be held at once."""
        return Limits(most_rows=int((self.memory_gib * GIB - _BASE_BYTES) / _ROW_BYTES))


@dataclass(slots=True)
class _Outcome:
    """What came of each fleet, and of the files."""

    trained: dict[str, tuple[Streamed, str]] = field(default_factory=dict)
    problems: list[TraceProblem] = field(default_factory=list)


def train_offline(traces: Sequence[Path], how: Offline) -> int:
    """Train every fleet found in the traces, print the evaluation, and publish.

    Files that cannot be read are named and skipped.

    Returns:
        The exit status: 0, or 1 when files were skipped.

    Raises:
        NothingToTrainOn: No fleet has enough usable rows.
    """
    opened = open_store(how.store)
    for path in traces:
        if not path.exists():
            raise ForetokenError(f"{path} does not exist")
    if (nothing := absence(traces)) is not None:
        raise NothingToTrainOn(nothing)
    outcome = _Outcome()
    with _bar() as progress:
        task = progress.add_task("reading traces", total=None)
        batches = TraceBatches(traces, on_problem=outcome.problems.append)
        counts = batches.counts()
        with _trainer(batches, how, progress, task) as train:
            for fleet in sorted(counts):
                _train_one(opened, fleet, train, outcome)
    for problem in outcome.problems:
        say_error(f"skipped {problem.path}: {problem.reason}")
    if not outcome.trained:
        raise NothingToTrainOn(
            f"nothing to train on in {', '.join(map(str, traces))}: {sum(counts.values())} "
            f"observations, {TrainingSettings().minimum_rows} usable ones of one fleet needed"
        )
    _tell(outcome.trained, how.json_path)
    return 1 if outcome.problems else 0


class _Reading:
    """Give a fleet's rows, each time they are asked for, and show how far that is."""

    def __init__(self, batches: TraceBatches, fleet: str, progress: Progress, task: TaskID) -> None:
        self._batches = batches
        self._fleet = fleet
        self._progress = progress
        self._task = task

    def __call__(self) -> Iterator[Rows]:
        """Give the rows, oldest first."""
        count, name = 0, plain(self._fleet)
        for table in self._batches.tables(self._fleet):
            yield table
            count += len(table)
            self._progress.update(self._task, description=f"{name}: {count:,} rows read")
        self._progress.update(self._task, description=f"{name}: training on {count:,} rows")


@contextmanager
def _trainer(
    batches: TraceBatches, how: Offline, progress: Progress, task: TaskID
) -> Iterator[Callable[[str], Streamed]]:
    """Give what trains a fleet's models: this process, or a cluster."""
    if how.dask is None:
        yield lambda fleet: train_streamed(
            _Reading(batches, fleet, progress, task), limits=how.limits
        )
        return
    # Dask is an extra, and takes a second.
    from foretoken.cluster import cluster  # noqa: PLC0415

    with cluster(how.dask) as workers:
        workers.check_files(batches)
        progress.update(task, description=f"training on {len(workers.workers)} workers")
        yield partial(
            workers.train,
            batches,
            settings=TrainingSettings(),
            physics=PhysicsSettings(),
            limits=how.limits,
        )


def _train_one(
    store: ModelsStore, fleet: str, train: Callable[[str], Streamed], outcome: _Outcome
) -> None:
    try:
        done = train(fleet)
    except TrainingRefused as error:
        say_error(f"{fleet}: {error}")
        return
    with store_errors():
        outcome.trained[fleet] = done, publish(store, fleet, done.model)


def _tell(trained: Mapping[str, tuple[Streamed, str]], json_path: Path | None) -> None:
    console = console_beside(json_path)
    console.print(_table(trained))
    for fleet, (done, version) in trained.items():
        if done.used_rows < done.rows:
            console.print(
                f"{plain(fleet)}: {done.used_rows:,} of {done.rows:,} rows fit into --memory: "
                "the newest, and older ones evenly thinned",
                markup=False,
                soft_wrap=True,
            )
        console.print(f"{plain(fleet)}: published {version}", markup=False, soft_wrap=True)
    figures = {
        fleet: {
            "version": version,
            "rows": done.rows,
            "used_rows": done.used_rows,
            **metrics(done.model.evaluation),
        }
        for fleet, (done, version) in trained.items()
    }
    write_figures(json_path, figures)


def _table(trained: Mapping[str, tuple[Streamed, str]]) -> Table:
    table = Table("fleet", "rows", "target", "MdAPE", "MAPE", "p90 covers", box=None)
    for fleet, (done, _) in trained.items():
        for target, score in done.model.evaluation.candidate.items():
            table.add_row(
                plain(fleet),
                str(done.rows),
                target,
                f"{score.mdape:.1%}",
                f"{score.mape:.1%}",
                f"{score.p90_coverage:.1%}",
            )
    return table


def _bar() -> Progress:
    """Make the bar that stands on standard error while there is a terminal to see it."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
