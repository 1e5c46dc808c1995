"""The demo: one mixed fleet, the same arrivals, three policies, one table.

Every round starts its endpoints afresh (a warm cache from the round before would
flatter the last) and Foretoken starts cold. Needs no GPU: the endpoints are simulated
in real time from measured step times (docs/simulator.md).
"""

import asyncio
import os
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.progress import Progress

from foretoken.demo_report import Round, as_json, as_table, errors_over_time
from foretoken.demo_traffic import play
from foretoken.processes import ALL_UP, Processes, free_ports
from foretoken.terminal import console_beside, write_figures
from simulator import Arrival, conversations

MODEL: Final = "qwen3-32b"
# One fast endpoint, two slower ones, one with a small KV cache: the mix a fleet grows into.
FLEET: Final = (
    "h100_sxm/qwen3-32b",
    "a100_sxm/qwen3-32b",
    "a100_sxm/qwen3-32b",
    "rtx_pro_6000/qwen3-32b",
)
OURS: Final = "predicted_latency"
# The strongest of the published heuristics on this very traffic (docs/decisions/demo.md).
HEURISTIC: Final = "lmetric"
POLICIES: Final = ("round_robin", HEURISTIC, OURS)
RATE: Final = 10.0  # requests per second: about half of what the fleet can take
SEED: Final = 7


async def run_demo(
    *, duration_s: float, policies: Sequence[str], json_path: Path | None, stay: bool
) -> int:
    """Run all rounds, print the table, and stay up for a look where asked to.

    Args:
        duration_s: Seconds of traffic per round.
        policies: A round each; Foretoken's own last.
        json_path: Where to write the figures, ``None`` for nowhere.
        stay: Keep the last round's servers and some traffic until interrupted.

    Returns:
        The exit status: 0, or 1 when a request failed.
    """
    task = asyncio.current_task()
    if task is not None:  # so that the servers end with us, as they do on Ctrl-C
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    console = console_beside(json_path)
    arrivals = conversations(SEED, duration_s, RATE)
    _introduce(console, arrivals, duration_s)
    rounds: list[Round] = []
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="foretoken-demo-")))
        for policy in policies:
            async with AsyncExitStack() as servers:
                url = await _start(servers, scratch / policy, policy)
                rounds.append(await _round(console, url, policy, arrivals))
                if stay and policy == policies[-1]:
                    stack.push_async_exit(servers.pop_all())
        document = as_json(rounds, duration_s)
        _report(console, document, json_path)
        if stay:
            await _stay(console, url, arrivals)
    return 1 if any(answer.error for each in rounds for answer in each.played.answers) else 0


def _introduce(console: Console, arrivals: list[Arrival], duration_s: float) -> None:
    tokens = sum(arrival.prompt_tokens for arrival in arrivals)
    console.print(
        f"Fleet: {', '.join(FLEET)} (simulated, in real time).\n"
        f"Traffic: {len(arrivals)} requests of {tokens / len(arrivals):.0f} prompt tokens in "
        f"{duration_s:g} s, multi-turn, with shared prefixes. Foretoken is told nothing of the "
        f"hardware and starts cold."
    )


async def _start(servers: AsyncExitStack, folder: Path, policy: str) -> str:
    """Start a fresh fleet and the proxy in front of it; give the proxy's URL."""
    folder.mkdir()  # noqa: ASYNC240  # nothing else runs yet
    processes = await servers.enter_async_context(Processes(folder))
    *ports, proxy_port = free_ports(len(FLEET) + 1)
    names = [f"endpoint-{number}" for number in range(len(FLEET))]
    for name, port, profile in zip(names, ports, FLEET, strict=True):
        await processes.start(
            name, "simulate-endpoint", "--port", str(port), "--profile", profile, "--model", MODEL
        )
    config = folder / "foretoken.toml"
    config.write_text(_config(policy, proxy_port, ports, folder))
    await processes.start("foretoken", "serve", "--config", str(config))
    for name, port in zip(names, ports, strict=True):
        await processes.wait_ready(name, f"http://127.0.0.1:{port}/health")
    url = f"http://127.0.0.1:{proxy_port}"
    await processes.wait_ready("foretoken", f"{url}/ready", ALL_UP)
    return url


def _config(policy: str, proxy_port: int, ports: list[int], folder: Path) -> str:
    endpoints = "".join(f'[[endpoints]]\nurl = "http://127.0.0.1:{port}"\n' for port in ports)
    return (
        f'data_dir = "{folder / "data"}"\nseed = {SEED}\n'
        f"[proxy]\nport = {proxy_port}\n"
        f'[scheduler]\npolicy = "{policy}"\n{endpoints}'
    )


async def _round(console: Console, url: str, policy: str, arrivals: list[Arrival]) -> Round:
    console.print(f"{policy}: live page at {url}/foretoken/ during the round")
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(policy, total=len(arrivals))
        before = _processor_seconds()
        played = await play(url, MODEL, arrivals, lambda _: progress.advance(task))
    return Round(policy=policy, played=played, busy_ratio=_busy(before, _processor_seconds()))


def _report(console: Console, document: dict[str, object], json_path: Path | None) -> None:
    console.print(as_table(document))
    for policy, line in errors_over_time(document).items():
        console.print(f"TTFT error over the {policy} round, from cold: {line}", highlight=False)
    write_figures(json_path, document)


async def _stay(console: Console, url: str, arrivals: list[Arrival]) -> None:
    console.print(f"\nLive page: {url}/foretoken/  (traffic goes on; Ctrl-C ends it)")
    try:
        while True:
            await play(url, MODEL, arrivals, lambda _: None)
    except asyncio.CancelledError:  # Ctrl-C is how this is meant to end
        console.print("stopping")


def _processor_seconds() -> tuple[float, float] | None:
    """Read the machine's busy and total processor time, ``None`` off Linux."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return None
    ticks = [float(field) for field in line.split()[1:9]]
    hertz = os.sysconf("SC_CLK_TCK")
    idle = ticks[3] + ticks[4]
    return (sum(ticks) - idle) / hertz, sum(ticks) / hertz


def _busy(before: tuple[float, float] | None, after: tuple[float, float] | None) -> float | None:
    if before is None or after is None or after[1] <= before[1]:
        return None
    return (after[0] - before[0]) / (after[1] - before[1])
