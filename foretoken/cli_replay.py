"""``foretoken replay``: what another policy or fleet would have done with recorded traffic."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from foretoken.cli_names import complete_fleet
from foretoken.cli_options import Config, Jobs, JsonPath, Policies, Seeds
from foretoken.terminal import console_beside, write_figures

TABLE_COLUMNS = 120


def _moment(text: str | None) -> float | None:
    """Read seconds from the beginning, or a time, which is given as Unix seconds.

    Raises:
        BadParameter: It is neither.
    """
    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is neither seconds from the beginning of the trace nor a time such as "
            "2026-09-21T14:00"
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _named(option: str, given: list[str] | None, *, whole: bool) -> dict[str, float]:
    """Read ``N`` or ``CLASS=N``, each class once.

    Raises:
        BadParameter: One is neither, or out of bounds.
    """
    found: dict[str, float] = {}
    for text in given or ():
        name, _, number = text.rpartition("=")
        try:
            value = float(int(number)) if whole else float(number)
        except ValueError as error:
            raise typer.BadParameter(f"{option} {text!r} is neither N nor CLASS=N") from error
        if not (0 if whole else 0.01) <= value <= (1000 if whole else 100):
            bounds = "0 to 1000" if whole else "0.01 to 100"
            raise typer.BadParameter(f"{option} {text!r} is out of bounds: {bounds}")
        found[name] = value
    return found


def replay(
    paths: Annotated[
        list[Path], typer.Argument(metavar="TRACE", help="Trace files, or folders of them.")
    ],
    *,
    policy: Policies = None,
    endpoints: Annotated[
        list[str] | None,
        typer.Option(help="Another number of endpoints, N or CLASS=N; may be repeated."),
    ] = None,
    speed: Annotated[
        list[str] | None,
        typer.Option(help="Endpoints as many times as fast, X or CLASS=X; may be repeated."),
    ] = None,
    fleet: Annotated[
        str | None,
        typer.Option(
            "--fleet",
            "-f",
            help="Another fleet altogether: name or file.",
            autocompletion=complete_fleet,
        ),
    ] = None,
    traffic: Annotated[
        float, typer.Option(help="As many times the requests a second.", min=0.01, max=100)
    ] = 1.0,
    model: Annotated[
        str | None, typer.Option(help="Whose requests, where a trace has several models.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="Seconds from the trace's beginning, or a time (UTC)."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Likewise.")] = None,
    limit: Annotated[
        int, typer.Option(help="Most requests: they are held in memory.", min=100, max=10_000_000)
    ] = 20_000,
    fit_share: Annotated[
        float,
        typer.Option(
            help="Share of the time that is fitted; the rest is judged.", min=0.1, max=0.9
        ),
    ] = 0.5,
    ttft: Annotated[
        float | None,
        typer.Option(help="Objective of requests without one, seconds to first token.", min=0.001),
    ] = None,
    tpot: Annotated[
        float | None,
        typer.Option(help="Likewise, seconds per token after that.", min=0.0001),
    ] = None,
    seeds: Seeds = 3,
    config: Config = None,
    json_path: JsonPath = None,
    jobs: Jobs = None,
) -> None:
    """Say what another policy or fleet would have done with recorded traffic.

    In virtual time, on step times fitted to the trace. First comes how far to trust it.
    Tiers are those of --config. docs/replay.md says what it can and cannot know.

    Example:
      foretoken replay data/traces --policy predicted_latency --policy lmetric
      foretoken replay data/traces --endpoints 6 --traffic 1.5 --ttft 0.5
    """
    from foretoken.errors import SimulationRefused
    from foretoken.replay.fleets import Changes
    from foretoken.replay.question import Question, ask
    from foretoken.replay.recorded import Window
    from foretoken.replay.report import as_json, as_tables
    from foretoken.settings import load_settings
    from foretoken.simulation.comparison import POLICIES, cores
    from predictor.types import Objective

    counts = _named("--endpoints", endpoints, whole=True)
    speeds = _named("--speed", speed, whole=False)
    if fleet is not None and (counts or speeds):
        raise SimulationRefused("--fleet is another fleet: it takes no --endpoints or --speed")
    question = Question(
        paths=tuple(paths),
        window=Window(model=model, from_s=_moment(from_), until_s=_moment(until), limit=limit),
        policies=tuple(policy or POLICIES),
        seeds=seeds,
        fit_share=fit_share,
        changes=Changes(counts={name: int(n) for name, n in counts.items()}, speeds=speeds),
        fleet=fleet,
        times=traffic,
        objective=Objective(ttft_s=ttft, tpot_s=tpot),
        settings=load_settings(config).scheduler,
        processes=jobs or cores(),
    )
    console = console_beside(json_path)
    console.width = max(console.width, TABLE_COLUMNS)
    with console.status("reading traces") as status:
        answer = ask(question, progress=status.update)
    console.print(as_tables(answer))
    write_figures(json_path, as_json(answer))
