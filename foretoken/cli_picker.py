"""``foretoken picker``: the command."""

from typing import Annotated

import typer

from foretoken.cli_options import Config, DataDir, LogFormat, LogLevel, Policy
from foretoken.extras import check_installed

_NEEDS = ("google.protobuf", "hpack", "xds")


def picker(
    *,
    config: Config = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="Base URL of a vLLM server, by its IP address; may be repeated."),
    ] = None,
    grpc_host: Annotated[
        str | None, typer.Option(help="Address Envoy reaches us at. (default: 127.0.0.1)")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for Envoy. (default: 9002)", min=0, max=65_535)
    ] = None,
    fallbacks: Annotated[
        int | None,
        typer.Option(help="Endpoints named after the chosen one; needs override_host in Envoy."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of metrics and control. (default: 127.0.0.1)")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port of metrics and control. (default: 8000)", min=0, max=65_535),
    ] = None,
    data_dir: DataDir = None,
    policy: Policy = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Pick endpoints for Envoy, as the Gateway API inference extension does.

    Needs the extra "picker"; docs/envoy.md says how to configure Envoy.

    Example:
      foretoken picker --endpoint http://10.0.0.1:8000 --grpc-port 9002
    """
    check_installed("the picker needs more", _NEEDS, extra="picker")
    from foretoken.picker import run_picker
    from foretoken.settings import ConfigFile, load_settings

    flags = {
        "endpoints": [{"url": url} for url in endpoint] if endpoint else None,
        "proxy__picker__host": grpc_host,
        "proxy__picker__port": grpc_port,
        "proxy__picker__fallbacks": fallbacks,
        "proxy__host": host,
        "proxy__port": port,
        "data_dir": data_dir,
        "scheduler__policy": policy,
        "log__format": log_format,
        "log__level": log_level,
    }
    settings = load_settings(config, **flags)
    source = None if config is None else ConfigFile(path=config, overrides=flags)
    raise typer.Exit(run_picker(settings, source))
