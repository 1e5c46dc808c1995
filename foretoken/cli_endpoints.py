"""``foretoken endpoints``: a running fleet, looked at and changed."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foretoken.cli_options import URL, ApiKey, AsJson, Url
from foretoken.errors import ServerUnusable

if TYPE_CHECKING:
    from rich.console import RenderableType

    from foretoken.control_client import ControlClient

endpoints_app = typer.Typer(invoke_without_command=True)

Name = Annotated[str, typer.Argument(help="host:port, as foretoken endpoints names it.")]
SubUrl = Annotated[str | None, typer.Option("--url", help="Where Foretoken serves.")]
SubKey = Annotated[str | None, typer.Option("--api-key", help="An admin's key.")]
TYPICAL_PROMPT_TOKENS = 1000


@endpoints_app.callback()
def endpoints(
    context: typer.Context,
    *,
    url: Url = URL,
    api_key: ApiKey = None,
    prompt_tokens: Annotated[
        int | None,
        typer.Option(help="Predict for a prompt of so many tokens. (default: typical)", min=1),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Show the fleet: state, load, what is predicted there and how well.

    run, wait: as the endpoint counts; sent: as this router does; error: of
    TTFT and TPOT of late. With --watch --json, a line of JSON each time.

    Example:
      foretoken endpoints
      foretoken endpoints --url http://router:8000 --watch
      foretoken endpoints drain 10.0.0.1:8000
    """
    from foretoken.control_client import ControlClient

    context.obj = (url, api_key)
    if context.invoked_subcommand is not None:
        return
    with ControlClient(url, api_key=api_key) as client:
        if watch:
            _watch(client, prompt_tokens, interval, as_json=as_json)
        else:
            _show(client, prompt_tokens, as_json=as_json)


@endpoints_app.command()
def drain(
    context: typer.Context, endpoint: Name, url: SubUrl = None, api_key: SubKey = None
) -> None:
    """Keep new requests from an endpoint; those there run to their end.

    Exit status 3: no such endpoint.

    Example:
      foretoken endpoints drain 10.0.0.1:8000
    """
    with _client(context, url, api_key) as client:
        client.ask("POST", "endpoints", endpoint, "drain")
    typer.echo(f"{endpoint} drains; foretoken endpoints undrain {endpoint} takes it back")


@endpoints_app.command()
def undrain(
    context: typer.Context, endpoint: Name, url: SubUrl = None, api_key: SubKey = None
) -> None:
    """Let requests come to an endpoint again.

    Exit status 3: no such endpoint.

    Example:
      foretoken endpoints undrain 10.0.0.1:8000
    """
    with _client(context, url, api_key) as client:
        client.ask("POST", "endpoints", endpoint, "undrain")
    typer.echo(f"{endpoint} takes requests again")


@endpoints_app.command()
def add(
    context: typer.Context,
    endpoint_url: Annotated[str, typer.Argument(help="Base URL of a vLLM server.")],
    hardware: Annotated[
        str | None, typer.Option(help="Label, for predictions before the first observation.")
    ] = None,
    url: SubUrl = None,
    api_key: SubKey = None,
) -> None:
    """Add an endpoint until the restart.

    The configuration file stays as it is: add it there to keep it.

    Example:
      foretoken endpoints add http://10.0.0.3:8000
    """
    body = {"url": endpoint_url} | ({} if hardware is None else {"hardware": hardware})
    with _client(context, url, api_key) as client:
        added = client.ask("POST", "endpoints", body=body)
    typer.echo(f"{added['endpoint']} is known; it gets requests once it has been seen up")


@endpoints_app.command()
def remove(
    context: typer.Context, endpoint: Name, url: SubUrl = None, api_key: SubKey = None
) -> None:
    """Forget an endpoint until the restart; requests there run to their end.

    Exit status 3: no such endpoint.

    Example:
      foretoken endpoints remove 10.0.0.3:8000
    """
    with _client(context, url, api_key) as client:
        client.ask("DELETE", "endpoints", endpoint)
    typer.echo(f"{endpoint} is forgotten")


def _client(context: typer.Context, url: str | None, api_key: str | None) -> "ControlClient":
    from foretoken.control_client import ControlClient

    outer_url, outer_key = context.obj
    return ControlClient(url or outer_url, api_key=api_key or outer_key)


def _show(client: "ControlClient", prompt_tokens: int | None, *, as_json: bool) -> None:
    from foretoken.terminal import console_for_tables, print_json

    if as_json:
        print_json(_read(client, prompt_tokens)[0])
    else:
        console_for_tables().print(_table(client, prompt_tokens))


def _watch(
    client: "ControlClient", prompt_tokens: int | None, interval: float, *, as_json: bool
) -> None:
    """Show the fleet again and again; a server that is gone may come back."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from foretoken.terminal import plain, print_json

    if as_json:
        while True:
            print_json(_read(client, prompt_tokens)[0], indent=None)
            time.sleep(interval)
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            try:
                live.update(_table(client, prompt_tokens), refresh=True)
            except ServerUnusable as error:
                live.update(Text(plain(str(error)), style="red"), refresh=True)
            time.sleep(interval)


def _table(client: "ControlClient", prompt_tokens: int | None) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from foretoken.fleet_report import endpoints_table

    endpoints, predicted, what = _read(client, prompt_tokens)
    table = endpoints_table(endpoints, predicted)
    return Group(table, Text(f"TTFT, TPOT: predicted {what}", style="dim"))


# Any: JSON of the control API.
def _read(
    client: "ControlClient", prompt_tokens: int | None
) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]], str]:
    """Give the fleet, what is predicted for one request at each endpoint, and which request."""
    endpoints: list[dict[str, Any]] = client.get("endpoints")
    typical = any(one.get("typical_ttft_s") is not None for one in endpoints)
    if prompt_tokens is None and typical:
        return endpoints, {}, "for a typical request of late"
    tokens = prompt_tokens or TYPICAL_PROMPT_TOKENS
    predicted: dict[str, dict[str, Any]] = {}
    for model in {one["model"] for one in endpoints if one.get("model") and one.get("up")}:
        body = {"model": model, "prompt_tokens": tokens}
        try:
            answer = client.ask("POST", "predict", body=body)
        except ServerUnusable:  # none of its endpoints can take a request
            continue
        predicted |= {one["endpoint"]: one for one in answer["candidates"]}
    return endpoints, predicted, f"for {tokens:,} prompt tokens, none of them cached"
