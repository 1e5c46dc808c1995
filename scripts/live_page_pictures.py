"""Draw docs/images/live-page*.png: the live page during a demo, in Chromium.

``python -m scripts.live_page_pictures`` from the repository's root, some two minutes: four
simulated endpoints of different hardware, Foretoken in front of them, starting cold, with
traffic of three tiers. ``--keep`` leaves all of it running for a look.
"""

import argparse
import asyncio
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from foretoken.demo_client import ask, chat_request
from foretoken.processes import ALL_UP, Processes, free_ports
from proxy import OutgoingRequest, Upstream
from simulator import Arrival, conversations
from tests.proxy.control.chromium import Page, chromium

MODEL: Final = "qwen3-32b"
FLEET: Final = (
    ("h100_sxm", "H100 SXM"),
    ("a100_sxm", "A100 SXM"),
    ("a100_sxm", "A100 SXM"),
    ("rtx_pro_6000", "RTX PRO 6000"),
)
RATE: Final = 7.0  # requests per second: about a third of what the fleet can take
IMAGES: Final = Path("docs/images")
PICTURES: Final = (  # name, width, scheme, and most of its height, in CSS pixels
    ("live-page.png", 1440, "light", 1228),
    ("live-page-dark.png", 1440, "dark", 2600),
    ("live-page-phone.png", 390, "light", 2200),
)
CONFIG: Final = """
[proxy]
port = {port}
[scheduler.tiers.interactive]
ttft_s = 1.0
tpot_s = 0.1
priority = 10
[scheduler.tiers.standard]
ttft_s = 5.0
[scheduler.tiers.batch]
priority = -10
sheddable = true
{endpoints}
"""


async def main() -> None:
    """Start the demo, wait for it to have something to show, and take the pictures."""
    asked = _parser().parse_args()
    task = asyncio.current_task()
    if task is not None:  # so that the servers end with us, as they do on Ctrl-C
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="foretoken-pictures-")))
        url = await _start(stack, folder, workers=asked.workers)
        print(f"live page: {url}/foretoken/")
        traffic = asyncio.create_task(_traffic(url))
        await asyncio.sleep(asked.after)
        await asyncio.to_thread(take, url, folder, asked.into)
        if asked.keep:
            await traffic
        traffic.cancel()


def take(url: str, folder: Path, into: Path) -> None:
    """Take the pictures of a page that runs, one decision opened."""
    with chromium(folder / "profile") as page:
        for name, width, scheme, most in PICTURES:
            shoot(page, f"{url}/foretoken/", into / name, width=width, scheme=scheme, most=most)
            print(into / name)


def shoot(page: Page, url: str, path: Path, *, width: int, scheme: str, most: int) -> None:
    """Take one picture of the page down to so many pixels, with the second decision opened."""
    scale = 1.5 if width < 500 else 1.0
    page.show(width=width, height=900, scheme=scheme, scale=scale)
    page.open(url)
    page.wait_for("document.querySelectorAll('#decisions button.open').length > 1")
    page.wait_for("document.querySelectorAll('#models table').length > 0")
    page.value("document.querySelectorAll('#decisions button.open')[1].click()")
    page.wait_for("document.querySelector('tr.detail table')")
    height = min(page.value("document.documentElement.scrollHeight"), most)
    page.show(width=width, height=height, scheme=scheme, scale=scale)
    page.value("new Promise((done) => setTimeout(done, 1500))")
    page.screenshot(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--after", type=float, default=100.0, help="seconds of traffic before")
    parser.add_argument("--into", type=Path, default=IMAGES, help="folder of the pictures")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards")
    return parser


async def _start(stack: AsyncExitStack, folder: Path, *, workers: int) -> str:
    processes = await stack.enter_async_context(Processes(folder))
    *ports, proxy_port = free_ports(len(FLEET) + 1)
    tables = ""
    for (hardware, label), port in zip(FLEET, ports, strict=True):
        profile = f"{hardware}/{MODEL}"
        start = ("simulate-endpoint", "--port", str(port), "--profile", profile, "--model", MODEL)
        await processes.start(f"endpoint-{port}", *start)
        tables += f'[[endpoints]]\nurl = "http://127.0.0.1:{port}"\nhardware = "{label}"\n'
    config = folder / "foretoken.toml"
    head = f'workers = {workers}\ndata_dir = "{folder / "data"}"\n'
    config.write_text(head + CONFIG.format(port=proxy_port, endpoints=tables))
    await processes.start("foretoken", "serve", "--config", str(config))
    for port in ports:
        await processes.wait_ready(f"endpoint-{port}", f"http://127.0.0.1:{port}/health")
    url = f"http://127.0.0.1:{proxy_port}"
    await processes.wait_ready("foretoken", f"{url}/ready", ALL_UP)
    return url


async def _traffic(url: str) -> None:
    """Send conversations for as long as nobody stops it."""
    rng = random.Random(7)
    async with Upstream() as upstream, asyncio.TaskGroup() as group:
        now = asyncio.get_running_loop().time
        for seed in range(7, 1000):
            start_s = now()
            for arrival in conversations(seed, 120.0, RATE):
                await asyncio.sleep(max(start_s + arrival.at_s - now(), 0.0))
                tier = rng.choices(("interactive", "standard", "batch"), (2, 6, 2))[0]
                group.create_task(ask(upstream, url, _request(arrival, tier)))


def _request(arrival: Arrival, tier: str) -> OutgoingRequest:
    body = {
        "model": MODEL,
        "messages": [{"role": role, "content": text} for role, text in arrival.messages],
        "max_tokens": 512,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    headers = {
        "x-session-id": arrival.session_id,
        "x-sim-output-tokens": str(arrival.output_tokens),
        "x-slo-tier": tier,
    }
    return chat_request(body, headers)


if __name__ == "__main__":
    asyncio.run(main())
