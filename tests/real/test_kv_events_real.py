"""Exact prefix matches on a real vLLM server that publishes KV events.

    .venv/bin/python -m pytest -q -s tests/real/test_kv_events_real.py

prints the share of requests whose predicted match is the ``cached_tokens`` reported.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from foretoken.processes import ALL_UP, Processes, free_ports
from foretoken.vllm_cpu import VllmServer, call_script
from foretoken.vllm_traffic import Conversation, conversations, send

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]  # the first one may install vLLM

REQUESTS = 240
BLOCKS = 400  # of 32 tokens: a tenth of what the traffic makes, so that most is evicted
MUST = 0.99


class Site(NamedTuple):
    url: str
    server: VllmServer


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that publishes KV events, and the proxy that follows them."""
    folder = tmp_path_factory.mktemp("kv")
    port, own = free_ports(2)
    address, replay = f"ipc://{folder}/live", f"ipc://{folder}/replay"
    events = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": address,
        "replay_endpoint": replay,
    }
    flags = ("--kv-events-config", json.dumps(events), "--num-gpu-blocks-override", str(BLOCKS))
    server = VllmServer(name="events", port=port, size="tiny", flags=flags)
    config = folder / "foretoken.toml"
    config.write_text(
        f"[proxy]\nport = {own}\n[trainer]\nenabled = false\n[tokens]\ntimeout_s = 5.0\n"
        f'[[endpoints]]\nurl = "{server.url}"\n'
        f'kv_events = {{address = "{address}", replay = "{replay}"}}\n'
    )
    call_script("install")
    server.stop()  # one that an earlier run left
    server.start()
    try:
        server.wait()
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            try:
                runner.run(stack.enter_async_context(_proxy(folder, config, own)))
                yield Site(f"http://127.0.0.1:{own}", server)
            finally:
                runner.run(stack.aclose())
    finally:
        server.stop()


def _proxy(folder: Path, config: Path, port: int) -> Any:  # an asynchronous context manager
    class Proxy(Processes):
        async def __aenter__(self) -> Processes:
            await super().__aenter__()
            await self.start("proxy", "serve", "--config", str(config))
            await self.wait_ready("proxy", f"http://127.0.0.1:{port}/ready", ALL_UP)
            return self

    return Proxy(folder)


def counts(url: str, name: str) -> dict[str, float]:
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(name + "{"))
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def settle(url: str) -> None:
    """Wait until no more announcements come: a client that thinks gives them that time."""
    before = -1.0
    while (heard := sum(counts(url, "foretoken_kv_event_batches_total").values())) != before:
        before = heard
        time.sleep(0.1)


def share(before: dict[str, float], after: dict[str, float]) -> tuple[float, float]:
    """Give the share of exact matches, and how many requests were matched exactly at all."""
    gained = {labels: count - before.get(labels, 0.0) for labels, count in after.items()}
    known = {labels: count for labels, count in gained.items() if 'index="exact"' in labels}
    right = sum(count for labels, count in known.items() if 'result="exact"' in labels)
    return right / sum(gained.values()), sum(known.values())


def converse(url: str, talks: list[Conversation], rng: random.Random) -> int:
    """Ask turn after turn, now and then by the prompt's text or with a salt."""
    asked = 0
    with httpx.Client(base_url=url, timeout=60.0) as client:
        for talk in talks:
            messages = [{"role": "system", "content": talk.system}]
            salt = {"cache_salt": "tenant"} if rng.random() < 0.1 else {}
            for turn in talk.turns:
                messages.append({"role": "user", "content": turn.text})
                body = {"model": "tiny", "max_tokens": turn.max_tokens, "ignore_eos": True, **salt}
                if rng.random() < 0.2:
                    text = "\n".join(message["content"] for message in messages)
                    answer = client.post("/v1/completions", json={**body, "prompt": text})
                    content = answer.raise_for_status().json()["choices"][0]["text"]
                else:
                    answer = client.post(
                        "/v1/chat/completions", json={**body, "messages": messages}
                    )
                    content = answer.raise_for_status().json()["choices"][0]["message"]["content"]
                messages.append({"role": "assistant", "content": content})
                asked += 1
                settle(url)
    return asked


def test_predicted_matches_are_those_the_server_reports(site: Site) -> None:
    rng = random.Random(11)
    settle(site.url)
    before = counts(site.url, "foretoken_prefix_matches_total")

    asked = converse(site.url, conversations(REQUESTS, rng), rng)

    right, known = share(before, counts(site.url, "foretoken_prefix_matches_total"))
    print(f"\n{right:.1%} of {asked} requests: the match predicted is the one reported")  # noqa: T201  # the figure
    assert asked == known == REQUESTS
    assert right >= MUST


def test_matches_of_clients_that_do_not_think(site: Site) -> None:
    """Six at once, each next turn in the same millisecond: announcements come later than it."""
    before = counts(site.url, "foretoken_prefix_matches_total")

    traffic = asyncio.run(send(site.url, conversations(120, random.Random(12))))

    right, known = share(before, counts(site.url, "foretoken_prefix_matches_total"))
    print(f"\n{right:.1%} of {known:.0f} requests, six at once without a pause")  # noqa: T201  # no must
    assert traffic.errors == []
    assert len(traffic.answers) == 120
