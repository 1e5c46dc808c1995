"""Start a mixed fleet, Foretoken in front of it, and a real Prometheus that scrapes it.

Everything that the dashboards show can happen here: tiers with objectives, a policy in
shadow, a canary, exact KV indexes, the response cache, traces, a trainer. Called by the
benchmark and by the test that runs every expression of the dashboards.
"""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dashboards import prometheus as rules_folder
from foretoken.errors import DemoFailed
from foretoken.processes import ALL_UP, Processes, free_ports

MODEL: Final = "qwen3-32b"
FLEET: Final = (
    "h100_sxm/qwen3-32b",
    "a100_sxm/qwen3-32b",
    "a100_sxm/qwen3-32b",
    "rtx_pro_6000/qwen3-32b",
    "rtx_pro_6000/qwen3-32b",
)
# The last of these stands by.
STANDBY: Final = 1
# Of these the KV events are followed.
EXACT: Final = 2

_CONFIG: Final = """\
data_dir = "{folder}/data"
workers = {workers}
[proxy]
port = {port}
[scheduler]
shadow = "lmetric"
canary = {{policy = "least_request", share = 0.1}}
[scheduler.tiers.interactive]
ttft_s = 0.6
tpot_s = 0.06
priority = 10
[scheduler.tiers.standard]
ttft_s = 2.0
[scheduler.tiers.batch]
ttft_s = 10.0
priority = -10
sheddable = true
max_wait_s = 5.0
standby = false
"""
_PROMETHEUS: Final = """\
global: {{scrape_interval: {interval_s}s, evaluation_interval: {interval_s}s}}
rule_files: ["{folder}/rules/*.yml"]
scrape_configs:
  - job_name: foretoken
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Say where everything listens.

    Attributes:
        url: Foretoken.
        prometheus: What watches it.
        endpoints: The simulated ones, in the order of :data:`FLEET`.
    """

    url: str
    prometheus: str
    endpoints: tuple[str, ...]


@asynccontextmanager
async def watched(
    folder: Path, *, interval_s: int = 1, at_once: bool = False, workers: int = 1
) -> AsyncIterator[Watched]:
    """Start everything, and end it for sure.

    Args:
        folder: Empty; logs, traces, models and Prometheus' data go there.
        interval_s: Between two scrapes.
        at_once: Whether alerts fire without waiting for how long they are to last.
        workers: Of Foretoken.

    Raises:
        DemoFailed: Prometheus is not installed, or something did not come up.
    """
    if shutil.which("prometheus") is None:
        raise DemoFailed("prometheus is not installed: apt-get install prometheus")
    *ports, port, watching = free_ports(len(FLEET) + 2)
    _write(folder, ports, port=port, interval_s=interval_s, at_once=at_once, workers=workers)
    names = [f"endpoint-{number}" for number in range(len(FLEET))]
    async with Processes(folder) as processes:
        for number, (name, each) in enumerate(zip(names, ports, strict=True)):
            await processes.start(name, *_endpoint(folder, number, each))
        await processes.start("foretoken", "serve", "--config", str(folder / "foretoken.toml"))
        for name, each in zip(names, ports, strict=True):
            await processes.wait_ready(name, f"http://127.0.0.1:{each}/health")
        url = f"http://127.0.0.1:{port}"
        await processes.wait_ready("foretoken", f"{url}/ready", ALL_UP)
        await processes.run(
            "prometheus",
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{watching}",
        )
        asking = f"http://127.0.0.1:{watching}"
        await processes.wait_ready("prometheus", f"{asking}/-/ready")
        endpoints = tuple(f"http://127.0.0.1:{each}" for each in ports)
        yield Watched(url=url, prometheus=asking, endpoints=endpoints)


def _endpoint(folder: Path, number: int, port: int) -> list[str]:
    """Give the arguments of an endpoint's command."""
    arguments = ["simulate-endpoint", "--port", str(port), "--model", MODEL]
    arguments += ["--profile", FLEET[number], "--seed", str(number)]
    if number < EXACT:
        live, replay = _addresses(folder, number)
        arguments += ["--kv-events", live, "--kv-events-replay", replay]
    return arguments


def _addresses(folder: Path, number: int) -> tuple[str, str]:
    return f"ipc://{folder}/live-{number}", f"ipc://{folder}/replay-{number}"


def _write(
    folder: Path, ports: list[int], *, port: int, interval_s: int, at_once: bool, workers: int
) -> None:
    """Write the configuration of Foretoken and that of Prometheus with our rules."""
    config = _CONFIG.format(folder=folder, port=port, workers=workers)
    for number, each in enumerate(ports):
        config += f'[[endpoints]]\nurl = "http://127.0.0.1:{each}"\n'
        if number >= len(FLEET) - STANDBY:
            config += "priority_class = 1\n"
        if number < EXACT:
            live, replay = _addresses(folder, number)
            config += f'kv_events = {{address = "{live}", replay = "{replay}"}}\n'
    (folder / "foretoken.toml").write_text(config)
    (folder / "prometheus.yml").write_text(
        _PROMETHEUS.format(folder=folder, port=port, interval_s=interval_s)
    )
    (folder / "rules").mkdir()
    for rules in rules_folder().iterdir():
        text = rules.read_text()
        if at_once:
            lines = [line for line in text.splitlines() if not line.lstrip().startswith("for:")]
            text = "\n".join(lines) + "\n"
        (folder / "rules" / rules.name).write_text(text)
