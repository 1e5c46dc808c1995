"""``foretoken status`` and ``foretoken explain``: a running Foretoken, looked at."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretoken.cli_options import URL, ApiKey, AsJson, Url
from foretoken.errors import RouteMissing

if TYPE_CHECKING:
    from foretoken.control_client import ControlClient


def status(url: Url = URL, *, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Say in one screen whether all is well.

    Not well is: an endpoint down, drained, avoided or not seen for 5 s; over
    5 % of the last requests (200, ten minutes) failed; predictions that do not
    decide; a model or a trainer out of order; other routers not reached.
    Exit status 0: all is well; 3: something is not; 1: nobody answers.

    Example:
      foretoken status
      foretoken status --url http://router:8000 --json
    """
    import time

    from rich.text import Text

    from foretoken.control_client import ControlClient
    from foretoken.fleet_report import RECENT_S, standing, status_table, troubles
    from foretoken.terminal import console_for_tables, plain, print_json

    with ControlClient(url, api_key=api_key) as client:
        endpoints = client.get("endpoints")
        fleets, models = client.get("deciding"), client.get("models")
        decisions = client.get("decisions", limit=200)
        mode = str(client.get("mode").get("mode"))
        routers = _routers(client)
    since_s = time.time() - RECENT_S
    recent = [one for one in decisions if one["result"]["finished_at_s"] >= since_s]
    found = troubles(endpoints, fleets, models, recent, mode, routers=routers)
    if as_json:
        print_json(
            {
                "well": not found,
                "troubles": found,
                "mode": mode,
                "endpoints": endpoints,
                "fleets": fleets,
                "models": models,
                "routers": routers,
            }
        )
    else:
        console = console_for_tables()
        up = sum(bool(one.get("up")) for one in endpoints)
        word = Text("all is well", style="green") if not found else Text("not well", style="red")
        told = (
            f", {up} of {len(endpoints)} endpoints up, mode {plain(mode)}, {client.url}/foretoken/"
        )
        console.print(word.append(told, style="default"), soft_wrap=True)
        for trouble in found:
            console.print(Text(f"- {trouble}"), soft_wrap=True)
        if (others := standing(routers)) is not None:
            console.print(Text(others, style="dim"), soft_wrap=True)
        console.print(status_table(endpoints, fleets, models))
    raise typer.Exit(3 if found else 0)


# Any: JSON of the control API.
def _routers(client: "ControlClient") -> dict[str, Any] | None:
    """Ask how a server stands with other routers, ``None``: it is too old to tell."""
    try:
        found: dict[str, Any] = client.get("routers")
    except RouteMissing:
        return None
    return found


def explain(
    request_id: Annotated[
        str | None,
        typer.Argument(
            help="As x-request-id of the response names it; without, the last are listed."
        ),
    ] = None,
    *,
    url: Url = URL,
    api_key: ApiKey = None,
    last: Annotated[
        int, typer.Option(help="How many to list, where none is named.", min=1, max=200)
    ] = 10,
    whole: Annotated[
        bool, typer.Option("--all", help="Every expert's prediction and every feature too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Explain where a finished request went, why, and what happened then.

    Exit status 3: no such request is remembered; it may still run.

    Example:
      foretoken explain
      foretoken explain chatcmpl-2f6a9c --all
    """
    from foretoken.control_client import ControlClient
    from foretoken.decision_report import account, decisions_table
    from foretoken.terminal import console_for_tables, print_json

    with ControlClient(url, api_key=api_key) as client:
        if request_id is None:
            answer = client.get("decisions", limit=last)
        else:
            answer = client.get("decisions", request_id)
    if as_json:
        print_json(answer)
        return
    console = console_for_tables()
    if request_id is not None:
        console.print(account(answer, whole=whole))
    elif answer:
        console.print(decisions_table(answer))
    else:
        typer.echo("no request has finished yet")
