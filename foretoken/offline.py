"""``foretoken train``: from recorded traces to a published model version."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from collectors import TraceProblem, read_observations
from foretoken.errors import ForetokenError, NothingToTrainOn
from foretoken.stores import open_store
from foretoken.terminal import console_beside, plain, say_error, write_figures
from foretoken.training import metrics, publish
from models_store import ModelsStore, ModelsStoreError, Place
from predictor import TrainedModel, TrainingRefused, TrainingSettings, train
from predictor.types import Observation

_TOLD_EVERY = 500  # rows; a bar that is drawn for each costs more than reading them


def train_offline(traces: Sequence[Path], store: Place, json_path: Path | None) -> int:
    """Train every fleet found in the traces, print the evaluation, and publish.

    Files that cannot be read are named and skipped.

    Returns:
        The exit status: 0, or 1 when files were skipped.

    Raises:
        NothingToTrainOn: No fleet has enough usable rows.
    """
    opened = open_store(store)
    for path in traces:
        if not path.exists():
            raise ForetokenError(f"{path} does not exist")
    with _bar() as progress:
        fleets, problems = _read(traces, progress)
        for problem in problems:
            say_error(f"skipped {problem.path}: {problem.reason}")
        trained = _train_each(opened, fleets, progress)
    if not trained:
        found = sum(map(len, fleets.values()))
        raise NothingToTrainOn(
            f"nothing to train on in {', '.join(map(str, traces))}: {found} usable rows, "
            f"{TrainingSettings().minimum_rows} of one fleet needed"
        )
    console = console_beside(json_path)
    console.print(_table(trained, fleets))
    for fleet, (_, version) in trained.items():
        console.print(f"{plain(fleet)}: published {version}", markup=False, soft_wrap=True)
    figures = {
        fleet: {"version": version, "rows": len(fleets[fleet]), **metrics(model.evaluation)}
        for fleet, (model, version) in trained.items()
    }
    write_figures(json_path, figures)
    return 1 if problems else 0


def _read(
    traces: Sequence[Path], progress: Progress
) -> tuple[dict[str, list[Observation]], list[TraceProblem]]:
    """Read the rows of each fleet, and which files were skipped."""
    problems: list[TraceProblem] = []
    fleets: dict[str, list[Observation]] = {}
    task = progress.add_task("reading traces", total=None)
    for count, seen in enumerate(read_observations(traces, on_problem=problems.append), start=1):
        fleets.setdefault(seen.model, []).append(seen)
        if count % _TOLD_EVERY == 0:
            progress.update(task, description=f"reading traces: {count:,} rows")
    progress.remove_task(task)
    return fleets, problems


def _train_each(
    store: ModelsStore, fleets: Mapping[str, list[Observation]], progress: Progress
) -> dict[str, tuple[TrainedModel, str]]:
    """Train and publish every fleet that has enough rows; give the models and versions."""
    trained = {}
    task = progress.add_task("training", total=len(fleets))
    for fleet, rows in sorted(fleets.items()):
        text = f"training {plain(fleet)} on {len(rows):,} rows"
        progress.update(task, description=text)
        done = _train_one(store, fleet, rows)
        if done is not None:
            trained[fleet] = done
        progress.advance(task)
    return trained


def _train_one(
    store: ModelsStore, fleet: str, rows: list[Observation]
) -> tuple[TrainedModel, str] | None:
    try:
        model = train(rows, TrainingSettings())
        return model, publish(store, fleet, model)
    except TrainingRefused as error:
        say_error(f"{fleet}: {error}")
        return None
    except ModelsStoreError as error:
        raise ForetokenError(str(error)) from error


def _table(
    trained: Mapping[str, tuple[TrainedModel, str]], fleets: Mapping[str, list[Observation]]
) -> Table:
    table = Table("fleet", "rows", "target", "MdAPE", "MAPE", "p90 covers", box=None)
    for fleet, (model, _) in trained.items():
        for target, score in model.evaluation.candidate.items():
            table.add_row(
                plain(fleet),
                str(len(fleets[fleet])),
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
