"""``foretoken scaler``: the command."""

from typing import Annotated

import typer

from foretoken.cli_options import URL, LogFormat, LogLevel
from foretoken.extras import check_installed

_NEEDS = ("google.protobuf", "grpc")


def scaler(
    *,
    url: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Where a router serves, all its addresses; may be repeated. (default: {URL})"
        ),
    ] = None,
    grpc_host: Annotated[str, typer.Option(help="Address KEDA reaches us at.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(help="Port for KEDA.", min=0, max=65_535)] = 9006,
    poll_s: Annotated[
        float, typer.Option(help="Between two looks at the routers.", min=0.1, max=600.0)
    ] = 5.0,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Tell KEDA how many endpoints a fleet needs.

    Reads the metrics of the routers and speaks KEDA's external scaler protocol.
    Needs the extra "autoscaling"; docs/autoscaling.md has an example.

    Example:
      foretoken scaler --url http://foretoken:8000 --grpc-host 0.0.0.0
    """
    check_installed("the scaler needs more", _NEEDS, extra="autoscaling")
    from foretoken.control_client import base_of
    from foretoken.logs import configure
    from foretoken.scaler.server import run_scaler

    urls = [base_of(one) for one in url or [URL]]
    configure(log_format or "auto", log_level or "info")
    raise typer.Exit(run_scaler(urls, host=grpc_host, port=grpc_port, poll_s=poll_s))
