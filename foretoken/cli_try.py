"""``foretoken demo``, ``demo-vllm`` and ``simulate-endpoint``: what needs no GPU to be tried."""

import socket
from typing import Annotated

import typer

from foretoken.cli_names import (
    complete_policy,
    complete_profile,
    known_policies,
)
from foretoken.cli_options import JsonPath
from foretoken.errors import CannotListen
from foretoken.nearest import did_you_mean


def demo(
    *,
    duration: Annotated[float, typer.Option(help="Seconds of traffic per policy.", min=5)] = 30.0,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Policy to play; may be repeated. (default: three)",
            callback=known_policies,
            autocompletion=complete_policy,
        ),
    ] = None,
    json_path: JsonPath = None,
) -> None:
    """Compare policies on a simulated mixed fleet, in real time.

    On a terminal the last policy's servers stay up for a look, until Ctrl-C.
    Exit status 1: a request failed.

    Example:
      foretoken demo --duration 20
      foretoken demo --policy lmetric --policy predicted_latency --json -
    """
    import asyncio
    import sys

    from foretoken.demo import POLICIES, run_demo

    figures = run_demo(
        duration_s=duration,
        policies=policy or POLICIES,
        json_path=json_path,
        stay=sys.stdout.isatty(),
    )
    try:
        status = asyncio.run(figures)
    except asyncio.CancelledError:  # SIGTERM, after everything was closed
        status = 143
    raise typer.Exit(status)


def demo_vllm(
    *,
    requests: Annotated[int, typer.Option(help="Requests to send.", min=20)] = 300,
    json_path: JsonPath = None,
    keep: Annotated[bool, typer.Option("--keep", help="Stay up until Ctrl-C.")] = False,
) -> None:
    """Predict two real vLLM servers on this machine's CPU; installs them first.

    Exit status 1: a request failed, or a server did not start.

    Example:
      foretoken demo-vllm --requests 100
    """
    from foretoken.demo_vllm import run

    raise typer.Exit(run(requests=requests, json_path=json_path, keep=keep))


def simulate_endpoint(
    *,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65_535)] = 8000,
    profile: Annotated[
        str,
        typer.Option(
            help="Hardware and model, as in h100_sxm/llama-3.1-8b.",
            autocompletion=complete_profile,
        ),
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

    What it says is made up; how long it takes is measured (docs/simulator.md).

    Example:
      foretoken simulate-endpoint --port 8001 --profile l40s/llama-3.1-8b
    """
    from pydantic import ValidationError

    from simulator import EndpointSettings
    from simulator import serve as serve_endpoint
    from simulator.profiles import profiles

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
        text = problem["msg"].removeprefix("Value error, ")
        meant = did_you_mean(profile, profiles()) if option == "--profile" else ""
        raise typer.BadParameter(text + meant, param_hint=option) from error
    _check_free(host, port)
    serve_endpoint(settings)


def _check_free(host: str, port: int) -> None:
    """Find out before the server does that an address is taken, and say what to do.

    Raises:
        CannotListen: It is, or it is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port or "
            "--host"
        ) from error
