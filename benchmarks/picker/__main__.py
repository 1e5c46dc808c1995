"""What a picked request costs the picker, against one by gRPC's server that schedules nothing.

    python -m benchmarks.picker [--json PATH] [--quick]

The real Envoy (``scripts/envoy.sh``), two endpoints that answer at once, ``wrk`` with 32
connections and a chat of 2 KB; every picker in every body mode, in turns, the turns repeated.
Measured is the CPU time of the picker's process per request, by the kernel's own count; the
trainer is a process of its own and not counted. ``plain``: by gRPC's server, endpoints in
turns; ``wire``: our picker over a scheduler that takes them in turns, nothing predicted,
learned, recorded or logged; ``foretoken``: as people run it, the default policy, traces
recorded, metrics and log on, compiled where ``make compiled`` has installed that. What a
picker uses without requests (scrapes, timers) is taken off and shown by itself. Envoy's own
time is not counted.

Must: the default at most 1 / 1.5 of the plain one in every mode.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.command import run
from benchmarks.data_path.process_tree import cpu_s
from benchmarks.data_path.routers import compiled_program, our_program
from benchmarks.picker.endpoint import MODEL
from benchmarks.picker.envoy_config import envoy_config
from foretoken.processes import Processes, free_ports

ROOT = Path(__file__).parents[2]
MODES = (
    ("NONE", "NONE"),
    ("BUFFERED", "NONE"),
    ("BUFFERED", "STREAMED"),
    ("FULL_DUPLEX_STREAMED", "FULL_DUPLEX_STREAMED"),
)
PICKERS = ("plain", "wire", "foretoken")
MUST_RATIO = 1 / 1.5
_WRK = """wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
wrk.body = [[%s]]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Name what one picker stands between.

    Attributes:
        url: Envoy's.
        picker: Its process.
        idle_cores: What that uses without requests.
    """

    url: str
    picker: int
    idle_cores: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Hold what one turn measured; CPU in seconds per request."""

    cpu_s: float
    requests_per_s: float
    requests: int


def main() -> int:
    """Measure, print, and judge."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="short turns, and only two")
    given = arguments.parse_args()
    turns, seconds = (2, 3) if given.quick else (5, 6)
    results = asyncio.run(measure(turns, seconds))
    Console().print(table_of(results))
    if given.json is not None:
        given.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(float(result["ratio"]) <= MUST_RATIO for result in results) else 1


async def measure(turns: int, seconds: int) -> list[dict[str, float | str]]:
    """Play every picker in every mode, in turns."""
    envoy = subprocess.run(  # noqa: ASYNC221, S603  # nothing else runs yet; our own script
        [ROOT / "scripts" / "envoy.sh"], check=True, capture_output=True, text=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "post.lua").write_text(_WRK % json.dumps(chat()))
        async with Processes(folder) as processes:
            scenes = await start(processes, folder, envoy)
            for scene in scenes.values():  # until trees take part, and caches are warm
                await play(scene, folder, seconds)
            scenes = await with_idle(scenes, seconds)
            played: dict[tuple[str, tuple[str, str]], list[Turn]] = {}
            for _ in range(turns):
                for key, scene in scenes.items():
                    played.setdefault(key, []).append(await play(scene, folder, seconds))
    results = [row(modes, {name: played[name, modes] for name in PICKERS}) for modes in MODES]
    idle: dict[str, float | str] = {
        f"{name} idle cores": scenes[name, MODES[0]].idle_cores for name in PICKERS
    }
    return [result | idle for result in results]


async def with_idle(
    scenes: dict[tuple[str, tuple[str, str]], Scene], seconds: float
) -> dict[tuple[str, tuple[str, str]], Scene]:
    """Measure what every picker uses without requests."""
    await asyncio.sleep(seconds)  # for what is still to be written and trained
    before_s = {key: cpu_s(scene.picker) for key, scene in scenes.items()}
    await asyncio.sleep(seconds)
    return {
        key: replace(scene, idle_cores=(cpu_s(scene.picker) - before_s[key]) / seconds)
        for key, scene in scenes.items()
    }


async def start(
    processes: Processes, folder: Path, envoy: str
) -> dict[tuple[str, tuple[str, str]], Scene]:
    """Start endpoints, pickers, and an Envoy before each picker and mode."""
    endpoints = free_ports(2)
    for port in endpoints:
        await processes.run(f"endpoint-{port}", *_python("endpoint", str(port)))
    scenes = {}
    for picker in PICKERS:
        (grpc_port,) = free_ports(1)
        await start_picker(processes, folder, picker, grpc_port, endpoints)
        for modes in MODES:
            port, admin = free_ports(2)
            name = f"{picker}-{modes[0]}-{modes[1]}"
            config = folder / f"{name}.yaml"
            config.write_text(
                envoy_config(
                    port=port,
                    picker_port=grpc_port,
                    admin_port=admin,
                    endpoint_ports=endpoints,
                    modes=modes,
                )
            )
            flags = ("--concurrency", "1", "-l", "warning", "--disable-hot-restart")
            await processes.run(f"envoy-{name}", envoy, "-c", str(config), *flags)
            await processes.wait_ready(f"envoy-{name}", f"http://127.0.0.1:{admin}/ready", "LIVE")
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            scenes[picker, modes] = Scene(url=url, picker=processes.pid(picker))
    return scenes


async def start_picker(
    processes: Processes, folder: Path, picker: str, grpc_port: int, endpoints: Sequence[int]
) -> None:
    """Start one picker."""
    (http_port,) = free_ports(1)
    if picker != "foretoken":
        names = ",".join(f"127.0.0.1:{port}" for port in endpoints)
        await processes.run(picker, *_python(picker, str(grpc_port), names))
        return
    urls = [flag for port in endpoints for flag in ("--endpoint", f"http://127.0.0.1:{port}")]
    ports = ("--grpc-port", str(grpc_port), "--port", str(http_port))
    more = ("--data-dir", str(folder / "data"), "--log-format", "json")
    program = our_program(compiled_program(None))
    await processes.run(picker, *program, "picker", *urls, *ports, *more)
    await processes.wait_ready(picker, f"http://127.0.0.1:{http_port}/ready", '"down":[]')


async def play(scene: Scene, folder: Path, seconds: int) -> Turn:
    """Play one turn."""
    before_s = cpu_s(scene.picker)
    wrk = await asyncio.create_subprocess_exec(
        *("wrk", "-t1", "-c32", f"-d{seconds}s", "-s", str(folder / "post.lua"), scene.url),
        stdout=subprocess.PIPE,
    )
    said = (await wrk.communicate())[0].decode()
    spent_s = cpu_s(scene.picker) - before_s - scene.idle_cores * seconds
    if "Non-2xx" in said or "requests in" not in said:
        raise SystemExit(f"{scene.url}: not every request was served:\n{said}")
    requests = int(said.split(" requests in")[0].split()[-1])
    return Turn(cpu_s=spent_s / requests, requests_per_s=requests / seconds, requests=requests)


def row(modes: tuple[str, str], turns: dict[str, list[Turn]]) -> dict[str, float | str]:
    """Put the medians of a mode together; milliseconds."""
    found: dict[str, float | str] = {"request": modes[0], "response": modes[1]}
    for name, each in turns.items():
        found[f"{name} ms"] = statistics.median(turn.cpu_s for turn in each) * 1e3
        found[f"{name} req/s"] = statistics.median(turn.requests_per_s for turn in each)
    found["ratio"] = float(found["foretoken ms"]) / float(found["plain ms"])
    return found


def table_of(results: Sequence[dict[str, float | str]]) -> Table:
    """Lay the results out."""
    table = Table("body modes", title="CPU of the picker per request, ms (requests/s)")
    for name in PICKERS:
        table.add_column(name, justify="right")
    table.add_column("foretoken / plain", justify="right")
    for result in results:
        cells = [f"{result[f'{name} ms']:.3f} ({result[f'{name} req/s']:.0f})" for name in PICKERS]
        verdict = "met" if float(result["ratio"]) <= MUST_RATIO else "MISSED"
        modes = f"{result['request']} / {result['response']}"
        table.add_row(modes, *cells, f"{result['ratio']:.2f} ({verdict})")
    idle = ", ".join(f"{name} {results[0][f'{name} idle cores']:.3f}" for name in PICKERS)
    table.caption = f"taken off: cores used without requests: {idle}"
    return table


def chat() -> dict[str, object]:
    """Give the chat that is sent, 2 KB."""
    content = "hello you " * 200
    return {"model": MODEL, "max_tokens": 4, "messages": [{"role": "user", "content": content}]}


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.picker.{module}", *arguments)


if __name__ == "__main__":
    run(main)
