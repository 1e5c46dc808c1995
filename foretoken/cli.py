"""The command line. Every command is a thin shell over a function elsewhere.

A command's own modules are imported when it runs: ``--help`` must not wait for
LightGBM, and a simulated endpoint must not load the predictor.
"""

import asyncio
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from foretoken.cli_models import models_app
from foretoken.cli_options import JsonPath
from foretoken.cli_picker import picker
from foretoken.cli_simulate import simulate
from foretoken.cli_traces import traces_app
from foretoken.errors import ForetokenError
from foretoken.kind import kind

app = typer.Typer(
    name="foretoken",
    help="Schedule requests over a fleet of vLLM servers by predicted latency.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(models_app, name="models")
app.add_typer(traces_app, name="traces")
app.command()(picker)
app.command()(simulate)

# Spelled out, because the policies themselves need the predictor; a test compares.
POLICY_NAMES = (
    "bounded_load_hash, least_request, lmetric, lmetric_own, lmetric_speed, power_of_two, "
    "predicted_latency, prefix_affinity, prefix_affinity_5s, prefix_affinity_requests, "
    "queued_tokens, queued_tokens_speed, radix_cache_aware, random, round_robin, "
    "session_affinity, token_load, weighted_blend, weighted_blend_111, weighted_blend_3222"
)


def _known_policies(names: list[str] | None) -> list[str] | None:
    known = POLICY_NAMES.split(", ")
    for name in names or ():
        if name not in known:
            raise typer.BadParameter(f"{name!r} is not one of {POLICY_NAMES}")
    return None if names is None else list(dict.fromkeys(names))


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # what typer calls back with
    if wanted:
        typer.echo(f"{version('foretoken')} {kind()}")
        raise typer.Exit


Config = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file.", dir_okay=False)]


@app.callback()
def _options(
    *,
    version: Annotated[  # handled by its callback
        bool,
        typer.Option(
            "--version",
            help="Print the version and the build.",
            callback=_show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Schedule requests over a fleet of vLLM servers by predicted latency."""


@app.command()
def serve(
    *,
    config: Config = None,
    endpoint: Annotated[
        list[str] | None, typer.Option(help="Base URL of a vLLM server; may be repeated.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    store: Annotated[Path | None, typer.Option(help="Folder of model versions.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder for traces and models; none are kept without.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help=f"Policy by name: {POLICY_NAMES}.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve, one core each.")
    ] = None,
    log_format: Annotated[
        Literal["json", "console"] | None,
        typer.Option(help="By default plain lines on a terminal, JSON otherwise."),
    ] = None,
) -> None:
    """Serve the OpenAI API in front of vLLM servers.

    Example: foretoken serve --endpoint http://10.0.0.1:8000 --endpoint http://10.0.0.2:8000
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
    }
    settings = load_settings(config, **flags)
    source = None if config is None else ConfigFile(path=config, overrides=flags)
    raise typer.Exit(run_server(settings, source))


@app.command()
def predictor(
    *,
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help="Folder of model versions; none are kept without.")
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
    log_format: Annotated[
        Literal["json", "console"] | None,
        typer.Option(help="By default plain lines on a terminal, JSON otherwise."),
    ] = None,
) -> None:
    """Serve predictions alone: our API, and llm-d's latency predictor sidecar's.

    Example: foretoken predictor --port 8001 --models-dir data/models
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
    )
    raise typer.Exit(run_predictor(settings))


@app.command("check-config")
def check_config(config: Annotated[Path, typer.Argument(help="TOML file.")]) -> None:
    """Check a configuration file and print it with every default filled in.

    Example: foretoken check-config foretoken.toml
    """
    from foretoken.settings import load_settings

    Console().print_json(load_settings(config).model_dump_json())


@app.command()
def demo(
    *,
    duration: Annotated[float, typer.Option(help="Seconds of traffic per policy.", min=5)] = 30.0,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Policy to play; may be repeated: {POLICY_NAMES}. [default: three]",
            callback=_known_policies,
        ),
    ] = None,
    json_path: JsonPath = None,
) -> None:
    """Compare policies on a simulated mixed fleet; needs no GPU.

    Example: foretoken demo --duration 20 --json demo.json
    """
    from foretoken.demo import POLICIES, run_demo

    figures = run_demo(
        duration_s=duration,
        policies=policy or POLICIES,
        json_path=json_path,
        stay=sys.stdout.isatty(),
    )
    raise typer.Exit(asyncio.run(figures))


@app.command("demo-vllm")
def demo_vllm(
    *,
    requests: Annotated[int, typer.Option(help="Requests to send.", min=20)] = 300,
    json_path: JsonPath = None,
    keep: Annotated[bool, typer.Option(help="Stay up until Ctrl-C.")] = False,
) -> None:
    """Predict two real vLLM servers on this machine's CPU; installs them first.

    Example: foretoken demo-vllm --requests 100
    """
    from foretoken.demo_vllm import run

    raise typer.Exit(run(requests=requests, json_path=json_path, keep=keep))


@app.command("simulate-endpoint")
def simulate_endpoint(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    profile: Annotated[
        str, typer.Option(help="Hardware and model, as in h100_sxm/llama-3.1-8b.")
    ] = "h100_sxm/llama-3.1-8b",
    model: Annotated[str | None, typer.Option(help="Model name to serve.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    seed: Annotated[int, typer.Option(help="Seed of its noise.")] = 0,
    speed: Annotated[float, typer.Option(help="1 is the profile's; 0.5 half as fast.")] = 1.0,
    max_num_seqs: Annotated[int, typer.Option(help="Most requests in a batch.")] = 256,
    max_num_batched_tokens: Annotated[
        int | None, typer.Option(help="Token budget of a step.")
    ] = None,
    kv_tokens: Annotated[int | None, typer.Option(help="Tokens the KV cache holds.")] = None,
    cpu_tier_tokens: Annotated[
        int | None, typer.Option(help="Tokens of KV kept in CPU memory behind it.")
    ] = None,
    kv_events: Annotated[
        str | None, typer.Option(help="ZMQ address to publish KV events on.")
    ] = None,
    kv_events_replay: Annotated[
        str | None, typer.Option(help="ZMQ address to give missed ones on.")
    ] = None,
) -> None:
    """Serve vLLM's face from a simulation, in real time.

    Example: foretoken simulate-endpoint --port 8001 --profile l40s/llama-3.1-8b
    """
    from pydantic import ValidationError

    from simulator import EndpointSettings
    from simulator import serve as serve_endpoint

    try:
        settings = EndpointSettings(
            port=port,
            profile=profile,
            model=model,
            host=host,
            seed=seed,
            speed=speed,
            max_num_seqs=max_num_seqs,
            max_num_batched_tokens=max_num_batched_tokens,
            kv_tokens=kv_tokens,
            cpu_tier_tokens=cpu_tier_tokens,
            kv_events=kv_events,
            kv_events_replay=kv_events_replay,
        )
    except ValidationError as error:
        problem = error.errors()[0]
        option = "--" + str(problem["loc"][0]).replace("_", "-")
        raise typer.BadParameter(problem["msg"], param_hint=option) from error
    serve_endpoint(settings)


@app.command()
def train(
    traces: Annotated[list[Path], typer.Argument(help="Trace files or folders of them.")],
    *,
    store: Annotated[Path, typer.Option(help="Folder of model versions.")],
    json_path: JsonPath = None,
) -> None:
    """Train models from recorded traces, evaluate in arrival order, and publish.

    Example: foretoken train data/traces --store data/models
    """
    from foretoken.offline import train_offline

    raise typer.Exit(train_offline(traces, store, json_path))


def main() -> None:
    """Run the command line; problems people can mend are one line, not a traceback."""
    try:
        app(standalone_mode=True)
    except ForetokenError as error:
        typer.secho(f"foretoken: {error}", fg=typer.colors.RED, err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except asyncio.CancelledError:  # SIGTERM, after everything was closed
        sys.exit(143)
