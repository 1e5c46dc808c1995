"""Exact prefix matches from end to end: simulated endpoints that announce their caches."""

import random
import time
from collections.abc import Iterator
from itertools import count
from typing import Any, NamedTuple

import pytest
import zmq

from foretoken.processes import free_ports
from tests.foretoken.running import AGAIN_S, PATIENCE_S, Running, asking

MODEL = "llama-3.1-8b"
WORDS = [
    "the",
    "end",
    "of",
    "all",
    "our",
    "exploring",
    "will",
    "be",
    "to",
    "arrive",
    "where",
    "we",
    "started",
]


END = b"\xff" * 8  # of a replay


class Service(NamedTuple):
    running: Running
    url: str
    endpoint: str
    replay: str


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A simulated endpoint that publishes KV events, and the proxy that follows them."""
    folder = tmp_path_factory.mktemp("events")
    one, port = free_ports(2)
    live, replay = f"ipc://{folder}/live", f"ipc://{folder}/replay"
    config = folder / "foretoken.toml"
    config.write_text(
        f"[proxy]\nport = {port}\n[trainer]\nenabled = false\n"
        f'[[endpoints]]\nurl = "http://127.0.0.1:{one}"\n'
        f'kv_events = {{address = "{live}", replay = "{replay}"}}\n'
    )
    with Running(folder) as running:
        flags = ("--kv-events", live, "--kv-events-replay", replay, "--kv-tokens", "20000")
        running.start("one", "simulate-endpoint", "--port", str(one), *flags)
        running.start("foretoken", "serve", "--config", str(config))
        url = f"http://127.0.0.1:{port}"
        running.until("foretoken", f"{url}/ready", '"down":[]')
        running.until("foretoken", f"{url}/metrics", "foretoken_endpoint_cache_exact{endpoint=")
        exact = f'foretoken_endpoint_cache_exact{{endpoint="127.0.0.1:{one}"}} 1.0'
        running.until("foretoken", f"{url}/metrics", exact)
        yield Service(running, url, f"http://127.0.0.1:{one}", replay)


def samples(url: str, name: str) -> dict[str, float]:
    with asking(url) as client:
        lines = client.get("/metrics").text.splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(name + "{"))
    return {labels.removeprefix(name): float(value) for labels, _, value in found}


def matches(service: Service) -> float:
    """Give how many matches were exact; none may be anything else."""
    exact = '{index="exact",result="exact"}'
    found = samples(service.url, "foretoken_prefix_matches_total")
    assert set(found) <= {exact}
    return found.get(exact, 0.0)


def published(service: Service) -> int:
    """Ask the endpoint how many batches of events it has published."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.RCVTIMEO, round(PATIENCE_S * 1e3))
        socket.connect(service.replay)
        socket.send_multipart([b"", (0).to_bytes(8, "big")])
        return next(number for number in count() if socket.recv_multipart()[-2] == END)


def settle(service: Service) -> None:
    """Wait until all is heard that was announced: a client that thinks gives it that time."""
    announced = published(service)
    deadline_s = time.monotonic() + PATIENCE_S
    while sum(samples(service.url, "foretoken_kv_event_batches_total").values()) < announced:
        assert time.monotonic() < deadline_s
        time.sleep(AGAIN_S)


def test_every_match_is_the_one_the_endpoint_reports(service: Service) -> None:
    rng = random.Random(3)

    def text(words: int) -> str:
        return " ".join(rng.choices(WORDS, k=words))

    systems = [text(300) for _ in range(3)]
    asked, before = 0, matches(service)
    with asking(service.url) as client:
        for _ in range(12):
            messages: list[dict[str, str]] = [{"role": "system", "content": rng.choice(systems)}]
            for _ in range(rng.randint(1, 3)):
                messages.append({"role": "user", "content": text(rng.randint(5, 200))})
                body: dict[str, Any] = {"model": MODEL, "messages": messages, "max_tokens": 6}
                answer = client.post("/v1/chat/completions", json=body).raise_for_status().json()
                messages.append(answer["choices"][0]["message"])
                asked += 1
                settle(service)

    assert matches(service) - before == asked


def test_a_flushed_cache_is_known_to_be_empty(service: Service) -> None:
    body = {"model": MODEL, "prompt": "again and again " * 100, "max_tokens": 2}

    before = matches(service)
    with asking() as client:
        for _ in range(2):
            client.post(f"{service.url}/v1/completions", json=body).raise_for_status()
            client.post(f"{service.endpoint}/sim/fault?kind=flush").raise_for_status()
            settle(service)
            service.running.until(
                "foretoken", f"{service.url}/metrics", "foretoken_announced_blocks 0.0"
            )

    assert matches(service) - before == 2
