"""``foretoken models``: look at the versions in a store and choose between them."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from foretoken.errors import ForetokenError
from models_store import ModelsStore, ModelsStoreError

models_app = typer.Typer(help="Look at stored model versions and choose between them.")

Store = Annotated[Path, typer.Option("--store", help="Folder of model versions.")]
Fleet = Annotated[str, typer.Option("--fleet", help="Base model of the fleet.")]


@models_app.command("list")
def list_versions(
    store: Store, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List every fleet's versions, newest first, the one in use marked.

    Example: foretoken models list --store data/models
    """
    rows = [row for fleet in _open(store).fleets() for row in _versions(_open(store), fleet)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("no versions")
        return
    table = Table(box=None)
    table.add_column("fleet", no_wrap=True)
    table.add_column("version", no_wrap=True)  # it has to be copied
    for name in ("in use", "rows", "TTFT error", "TPOT error", "problem"):
        table.add_column(name, justify="right" if name != "problem" else "left")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    Console().print(table, soft_wrap=True)


@models_app.command()
def promote(version: str, store: Store, fleet: Fleet) -> None:
    """Put a version in use.

    Example: foretoken models promote VERSION --store data/models --fleet llama-3.1-8b
    """
    from predictor import MODEL_SCHEMA

    try:
        _open(store).promote(fleet, version, schema_hash=MODEL_SCHEMA)
    except ModelsStoreError as error:
        raise ForetokenError(str(error)) from error
    typer.echo(f"{fleet}: {version} is in use")


@models_app.command()
def rollback(store: Store, fleet: Fleet) -> None:
    """Put the version before the present one in use again.

    Example: foretoken models rollback --store data/models --fleet llama-3.1-8b
    """
    from predictor import MODEL_SCHEMA

    try:
        version = _open(store).rollback(fleet, schema_hash=MODEL_SCHEMA)
    except ModelsStoreError as error:
        raise ForetokenError(str(error)) from error
    typer.echo(f"{fleet}: {version} is in use")


@models_app.command()
def verify(store: Store) -> None:
    """Check every byte of every version; exit 1 and name what is broken.

    Example: foretoken models verify --store data/models
    """
    opened = _open(store)
    problems = [problem for fleet in opened.fleets() for problem in opened.verify(fleet)]
    for problem in problems:
        typer.echo(str(problem), err=True)
    if problems:
        raise typer.Exit(1)
    typer.echo(
        f"{sum(len(opened.versions(fleet)) for fleet in opened.fleets())} versions are whole"
    )


def _cell(value: object) -> str:
    match value:
        case None | False:
            return ""
        case True:
            return "*"
        case float():
            return f"{value:.1%}"
    return str(value)


def _open(store: Path) -> ModelsStore:
    if not store.is_dir():
        raise ForetokenError(f"{store} is not a folder")
    return ModelsStore(store)


def _versions(store: ModelsStore, fleet: str) -> list[dict[str, object]]:
    try:
        used = store.latest(fleet)
    except ModelsStoreError:
        used = None
    return [_row(store, fleet, version, used) for version in reversed(store.versions(fleet))]


def _row(store: ModelsStore, fleet: str, version: str, used: str | None) -> dict[str, object]:
    row: dict[str, object] = {"fleet": fleet, "version": version, "in_use": version == used}
    try:
        manifest = store.manifest(fleet, version)
    except ModelsStoreError as error:
        return {**row, "rows": None, "ttft_mdape": None, "tpot_mdape": None, "problem": str(error)}
    return {
        **row,
        "rows": manifest.rows,
        "ttft_mdape": manifest.metrics.get("ttft_mdape_ratio"),
        "tpot_mdape": manifest.metrics.get("tpot_mdape_ratio"),
        "problem": None,
    }
