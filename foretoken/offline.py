"""``foretoken train``: from recorded traces to a published model version."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from collectors import TraceProblem, read_observations
from foretoken.errors import ForetokenError, NothingToTrainOn
from foretoken.training import metrics, publish
from models_store import ModelsStore, ModelsStoreError
from predictor import TrainedModel, TrainingRefused, TrainingSettings, train
from predictor.types import Observation


def train_offline(traces: Sequence[Path], store: Path, json_path: Path | None) -> int:
    """Train every fleet found in the traces, print the evaluation, and publish.

    Files that cannot be read are named and skipped.

    Returns:
        The exit status: 0, or 1 when files were skipped.

    Raises:
        NothingToTrainOn: No fleet has enough usable rows.
    """
    console = Console()
    problems: list[TraceProblem] = []
    fleets: dict[str, list[Observation]] = {}
    for path in traces:
        if not path.exists():
            raise ForetokenError(f"{path} does not exist")
    for seen in read_observations(traces, on_problem=problems.append):
        fleets.setdefault(seen.model, []).append(seen)
    for problem in problems:
        typer.echo(f"skipped {problem.path}: {problem.reason}", err=True)
    table = Table("fleet", "rows", "target", "MdAPE", "MAPE", "p90 coverage", box=None)
    table.add_column("version", no_wrap=True)  # it has to be copied
    results: dict[str, object] = {}
    for fleet, rows in sorted(fleets.items()):
        model, version = _train_one(ModelsStore(store), fleet, rows, console)
        if model is None or version is None:
            continue
        results[fleet] = {"version": version, "rows": len(rows), **metrics(model.evaluation)}
        for target, score in model.evaluation.candidate.items():
            table.add_row(
                fleet,
                str(len(rows)),
                target,
                f"{score.mdape:.1%}",
                f"{score.mape:.1%}",
                f"{score.p90_coverage:.1%}",
                version,
            )
    if not results:
        found = sum(map(len, fleets.values()))
        raise NothingToTrainOn(
            f"nothing to train on in {', '.join(map(str, traces))}: {found} usable rows, "
            f"{TrainingSettings().minimum_rows} of one fleet needed"
        )
    console.print(table, soft_wrap=True)
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=2) + "\n")
    return 1 if problems else 0


def _train_one(
    store: ModelsStore, fleet: str, rows: list[Observation], console: Console
) -> tuple[TrainedModel | None, str | None]:
    with console.status(f"training {fleet} on {len(rows)} rows"):
        try:
            model = train(rows, TrainingSettings())
            return model, publish(store, fleet, model)
        except TrainingRefused as error:
            typer.echo(f"{fleet}: {error}", err=True)
            return None, None
        except ModelsStoreError as error:
            raise ForetokenError(str(error)) from error
