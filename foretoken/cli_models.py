"""``foretoken models``: look at the versions in a store and choose between them."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from foretoken.amounts import moment
from foretoken.cli_names import complete_version
from foretoken.cli_options import AsJson
from foretoken.errors import ForetokenError, NotThere
from foretoken.terminal import plain, print_json

if TYPE_CHECKING:
    from models_store import ModelsStore

models_app = typer.Typer(
    help="""Look at stored model versions and choose between them.

    A running server follows the store: what is put in use is served in seconds.

    Example:
      foretoken models list --store data/models
      foretoken models rollback --store data/models --fleet llama-3.1-8b
    """,
    no_args_is_help=True,
)

Store = Annotated[
    str, typer.Option("--store", help="Folder of model versions, or URL as s3://bucket/models.")
]
Fleet = Annotated[str, typer.Option("--fleet", help="Base model of the fleet.")]
Version = Annotated[
    str, typer.Argument(help="As models list names it.", autocompletion=complete_version)
]


@models_app.command("list")
def list_versions(store: Store, *, as_json: AsJson = False) -> None:
    """List every fleet's versions, newest first, the one in use marked.

    The errors are those on the newest rows, before they were learned.

    Example:
      foretoken models list --store data/models
      foretoken models list --store data/models --json
    """
    from foretoken.stores import store_errors

    opened = _open(store)
    with store_errors():
        rows = [row for fleet in opened.fleets() for row in _versions(opened, fleet)]
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("no versions")
        return
    table = Table(box=None)
    table.add_column("fleet", no_wrap=True)
    table.add_column("version", no_wrap=True)  # it has to be copied
    for name in ("in use", "rows", "TTFT error", "TPOT error"):
        table.add_column(name, justify="right")
    if any(row["problem"] for row in rows):
        table.add_column("problem")
    for row in rows:
        table.add_row(*[_cell(value) for value in row.values()][: len(table.columns)])
    Console().print(table, soft_wrap=True)


@models_app.command("show")
def show_version(
    store: Store,
    version: Annotated[
        str | None,
        typer.Argument(
            help="As models list names it. (default: the one in use)",
            autocompletion=complete_version,
        ),
    ] = None,
    fleet: Annotated[
        str | None, typer.Option(help="Base model of the fleet. (default: the only one)")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one version.

    Exit status 3: there is no such version.

    Example:
      foretoken models show --store data/models
      foretoken models show 20260101T000000.000000Z-01234567 --store data/models
    """
    from dataclasses import asdict

    from foretoken.stores import store_errors
    from models_store import UnknownVersion

    opened = _open(store)
    with store_errors():
        name = _only_fleet(opened, version) if fleet is None else fleet
        try:
            manifest = opened.manifest(name, version)
            used = opened.latest(name)
        except UnknownVersion as error:
            raise NotThere(f"{error}; foretoken models list --store {store} names all") from error
    facts: dict[str, object] = {**asdict(manifest), "in_use": manifest.version == used}
    if as_json:
        print_json(facts)
        return
    Console(highlight=False).print(_facts_table(facts))


@models_app.command()
def promote(version: Version, store: Store, fleet: Fleet) -> None:
    """Put a version in use; a running server takes it within seconds.

    It stays until its trainer publishes a better one (trainer.enabled).

    Example:
      foretoken models promote VERSION --store data/models --fleet llama-3.1-8b
    """
    from foretoken.stores import store_errors
    from predictor import MODEL_SCHEMA

    with store_errors():
        _open(store).promote(fleet, version, schema_hash=MODEL_SCHEMA)
    typer.echo(f"{fleet}: {version} is in use")


@models_app.command()
def rollback(store: Store, fleet: Fleet) -> None:
    """Put the version before the present one in use again.

    As promote does, of the one that was in use before.

    Example:
      foretoken models rollback --store data/models --fleet llama-3.1-8b
    """
    from foretoken.stores import store_errors
    from predictor import MODEL_SCHEMA

    with store_errors():
        version = _open(store).rollback(fleet, schema_hash=MODEL_SCHEMA)
    typer.echo(f"{fleet}: {version} is in use")


@models_app.command()
def verify(store: Store, *, as_json: AsJson = False) -> None:
    """Check every byte of every version.

    Exit status 1: some are broken; they are named.

    Example:
      foretoken models verify --store data/models
    """
    from foretoken.stores import store_errors

    opened = _open(store)
    with store_errors():
        problems = [problem for fleet in opened.fleets() for problem in opened.verify(fleet)]
        versions = sum(len(opened.versions(fleet)) for fleet in opened.fleets())
    if as_json:
        print_json({"versions": versions, "problems": [str(problem) for problem in problems]})
    else:
        for problem in problems:
            typer.echo(plain(str(problem)), err=True)
        if not problems:
            typer.echo(f"{versions} versions are whole")
    raise typer.Exit(1 if problems else 0)


def _facts_table(facts: dict[str, object]) -> Table:
    """Give what is known of a version, a line each."""
    table = Table(box=None, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    metrics = facts.pop("metrics")
    for key, value in {**facts, **(metrics if isinstance(metrics, dict) else {})}.items():
        table.add_row(key.removesuffix("_s"), Text(_told(key, value)))
    return table


def _told(key: str, value: object) -> str:
    if value is None:
        return "unknown"
    if key.startswith("window_"):
        return moment(value)
    return _cell(value) if key.endswith("_ratio") else plain(str(value))


def _cell(value: object) -> str:
    match value:
        case None | False:
            return ""
        case True:
            return "*"
        case float():
            return f"{value:.1%}"
    return str(value)


def _only_fleet(store: "ModelsStore", version: str | None) -> str:
    """Name the fleet that was meant where none was named."""
    fleets = store.fleets()
    holding = [fleet for fleet in fleets if version is None or version in store.versions(fleet)]
    if len(holding) == 1:
        return holding[0]
    if not holding:
        raise NotThere("there is no version" + ("" if version is None else f" {version!r}"))
    raise ForetokenError(f"name the fleet with --fleet: {', '.join(holding)}")


def _open(store: str) -> "ModelsStore":
    from foretoken.stores import open_store
    from models_store import is_url, path_of

    if not is_url(store) and not path_of(store).is_dir():
        raise ForetokenError(f"{store} is not a folder")
    return open_store(store)


def _versions(store: "ModelsStore", fleet: str) -> list[dict[str, object]]:
    from models_store import BrokenVersion

    try:
        used = store.latest(fleet)
    except BrokenVersion:
        used = None
    return [_row(store, fleet, version, used) for version in reversed(store.versions(fleet))]


def _row(store: "ModelsStore", fleet: str, version: str, used: str | None) -> dict[str, object]:
    from models_store import BrokenVersion, UnknownVersion

    row: dict[str, object] = {"fleet": fleet, "version": version, "in_use": version == used}
    try:
        manifest = store.manifest(fleet, version)
    except (BrokenVersion, UnknownVersion) as error:
        return {**row, "rows": None, "ttft_mdape": None, "tpot_mdape": None, "problem": str(error)}
    return {
        **row,
        "rows": manifest.rows,
        "ttft_mdape": manifest.metrics.get("ttft_mdape_ratio"),
        "tpot_mdape": manifest.metrics.get("tpot_mdape_ratio"),
        "problem": None,
    }
