"""``foretoken picker``: the command."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import typer

from foretoken.errors import ExtraMissing

_NEEDS = ("google.protobuf", "hpack", "xds")


def picker(
    *,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file.", dir_okay=False)
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="Base URL of a vLLM server, by its IP address; may be repeated."),
    ] = None,
    grpc_host: Annotated[str | None, typer.Option(help="Address Envoy reaches us at.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Port for Envoy. [default: 9002]")] = None,
    fallbacks: Annotated[
        int | None,
        typer.Option(help="Endpoints named after the chosen one; needs override_host in Envoy."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address of metrics and control.")] = None,
    port: Annotated[int | None, typer.Option(help="Port of metrics and control.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for traces and models; none are kept without.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help="Policy by name, as for serve.")] = None,
    log_format: Annotated[
        Literal["json", "console"] | None,
        typer.Option(help="By default plain lines on a terminal, JSON otherwise."),
    ] = None,
) -> None:
    """Pick endpoints for Envoy: its external processor, by the inference extension's protocol.

    Example: foretoken picker --endpoint http://10.0.0.1:8000 --grpc-port 9002
    """
    _check_installed()
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
    }
    settings = load_settings(config, **flags)
    source = None if config is None else ConfigFile(path=config, overrides=flags)
    raise typer.Exit(run_picker(settings, source))


def _check_installed() -> None:
    """Find out whether what the picker alone needs is there.

    Raises:
        ExtraMissing: It is not.
    """
    try:
        found = all(find_spec(name) is not None for name in _NEEDS)
    except ModuleNotFoundError:  # what a name is in is missing
        found = False
    if not found:
        raise ExtraMissing("the picker needs more: pip install 'foretoken[picker]'")
