"""``foretoken simulate``: policies compared in virtual time, without a GPU."""

from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli_names import complete_fleet, complete_workload
from foretoken.cli_options import Jobs, JsonPath, Policies, Seeds, writable
from foretoken.errors import SimulationRefused
from foretoken.output_file import write_whole
from foretoken.terminal import STDOUT, console_beside, write_figures

TABLE_COLUMNS = 120


def _picture(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"{path} is no name of a PNG, which is what is drawn")
    return writable(path)


def simulate(
    *,
    workload: Annotated[
        str | None,
        typer.Option(
            "--workload",
            "-w",
            help="Name or file; --list names them.",
            autocompletion=complete_workload,
        ),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            "--fleet",
            "-f",
            help="Name or file; --list names them.",
            autocompletion=complete_fleet,
        ),
    ] = None,
    policy: Policies = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests/s; users of a closed loop.", min=1e-3)
    ] = None,
    load: Annotated[
        float | None,
        typer.Option(help="Share of the fleet's capacity instead. 0.7 by default.", min=1e-3),
    ] = None,
    seeds: Seeds = 3,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of recorded traces.", exists=True, file_okay=False),
    ] = None,
    json_path: JsonPath = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw a PNG; needs the extra 'plots'.", callback=_picture),
    ] = None,
    warmup: Annotated[
        float | None,
        typer.Option(help="Seconds before the window. By default the workload's.", min=0, max=1e6),
    ] = None,
    measure: Annotated[
        float | None,
        typer.Option(help="Seconds of the window. By default the workload's.", min=1, max=1e6),
    ] = None,
    labels: Annotated[
        bool, typer.Option("--labels", help="Tell the predictor each endpoint's hardware.")
    ] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Print every figure.")] = False,
    jobs: Jobs = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Name workloads, fleets and policies.")
    ] = False,
) -> None:
    """Compare policies on a simulated fleet, in virtual time.

    Workloads and fleets are TOML files too: docs/simulator.md.

    Example:
      foretoken simulate --list
      foretoken simulate -w sharegpt -f mixed-8b -p lmetric --load 0.9
      foretoken simulate -w burst -f mixed-8b --seeds 1 --json - > out.json
    """
    if list_:
        print_names(json_path)
        return
    if workload is None or fleet is None:
        raise SimulationRefused("name a --workload and a --fleet; --list prints what there is")
    if rate is not None and load is not None:
        raise SimulationRefused("--rate and --load are two ways to say one thing: give one of them")
    from foretoken.simulation.comparison import LOAD, POLICIES, Comparison, compare, cores
    from foretoken.simulation.plot import draw, require_matplotlib
    from foretoken.simulation.report import as_json, as_table, as_wide_tables, by_policy, json_text

    if plot is not None:
        require_matplotlib()
    comparison = Comparison(
        workload=workload,
        fleet=fleet,
        policies=tuple(policy or POLICIES),
        rate=rate,
        load=load or LOAD,
        seeds=seeds,
        data=data,
        warmup_s=warmup,
        measure_s=measure,
        labels=labels,
        processes=jobs or cores(),
    )
    try:
        runs = compare(comparison)
    except KeyboardInterrupt:
        typer.echo("foretoken: stopped; no figures are written", err=True)
        raise typer.Exit(130) from None
    policies = by_policy(runs)
    console = console_beside(json_path)
    console.width = max(console.width, TABLE_COLUMNS)  # a wrapped line says more than a cut one
    console.print(*(as_wide_tables(policies) if wide else (as_table(policies),)))
    if json_path == STDOUT:
        typer.echo(json_text(as_json(policies)), nl=False)
    elif json_path is not None:
        write_whole(json_path, json_text(as_json(policies)).encode())
    if plot is not None:
        write_whole(plot, draw(policies))


def print_names(json_path: Path | None) -> None:
    """Print what can be named, one kind a line."""
    from foretoken.simulation.comparison import names

    known = names()
    if json_path is not None:
        write_figures(json_path, known)
        return
    for kind, named in known.items():
        typer.echo(f"{kind}: {', '.join(named)}")
