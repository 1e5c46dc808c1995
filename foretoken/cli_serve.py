"""``foretoken serve`` and ``foretoken predictor``: the commands."""

from typing import Annotated, Literal

import typer

from foretoken.cli_options import (
    Config,
    DataDir,
    Endpoints,
    Host,
    LogFormat,
    LogLevel,
    Policy,
    Port,
)


def serve(
    *,
    config: Config = None,
    endpoint: Endpoints = None,
    host: Host = None,
    port: Port = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Folder of model versions, or URL as s3://bucket/models."
            " (default: models in data-dir)"
        ),
    ] = None,
    data_dir: DataDir = None,
    policy: Policy = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Processes that serve, one core each. (default: 1)", min=1, max=64),
    ] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve the OpenAI API in front of vLLM servers.

    Flags lie over the file. SIGHUP, or a change of the file, reads it again;
    SIGTERM lets requests in flight end.

    Example:
      foretoken serve --endpoint http://10.0.0.1:8000 --data-dir data
      foretoken serve --config foretoken.toml --workers 4
    """
    from foretoken.serve import run_server
    from foretoken.settings import ConfigFile, load_settings

    flags = {
        "endpoints": [{"url": url} for url in endpoint] if endpoint else None,
        "proxy__host": host,
        "proxy__port": port,
        "store__directory": store,
        "data_dir": data_dir,
        "scheduler__policy": policy,
        "workers": workers,
        "log__format": log_format,
        "log__level": log_level,
    }
    settings = load_settings(config, **flags)
    source = None if config is None else ConfigFile(path=config, overrides=flags)
    raise typer.Exit(run_server(settings, source))


def predictor(
    *,
    config: Config = None,
    host: Host = None,
    port: Port = None,
    models_dir: Annotated[
        str | None,
        typer.Option(help="Folder of model versions, or URL; none are kept without."),
    ] = None,
    objective: Annotated[
        Literal["mean", "p90", "quantile"] | None,
        typer.Option(
            help="What llm-d's callers get: the expectation, or the 90 % quantile.",
            envvar="LATENCY_OBJECTIVE_TYPE",
        ),
    ] = None,
    allow_remote_changes: Annotated[
        bool | None,
        typer.Option("--allow-remote-changes", help="Learn from other machines too."),
    ] = None,
    log_format: LogFormat = None,
    log_level: LogLevel = None,
) -> None:
    """Serve predictions alone: our API, and llm-d's latency predictor's.

    For routers that decide themselves; docs/predictor-api.md has both.

    Example:
      foretoken predictor --port 8001 --models-dir data/models
    """
    from foretoken.serve import run_predictor
    from foretoken.settings import load_settings

    settings = load_settings(
        config,
        proxy__host=host,
        proxy__port=port,
        store__directory=models_dir,
        control__predictor__objective="p90" if objective == "quantile" else objective,
        control__allow_remote_changes=allow_remote_changes,
        log__format=log_format,
        log__level=log_level,
    )
    raise typer.Exit(run_predictor(settings))
