"""Two routers as people run them: real processes, a real server, simulated endpoints."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from foretoken.cli import run
from foretoken.processes import free_ports
from tests.foretoken.routers.conftest import Store
from tests.foretoken.running import PATIENCE_S, Running, asking

MODEL = "llama-3.1-8b"


def ask(text: str, *, tokens: int = 4) -> dict[str, object]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
    }


class Routers:
    """Two routers, ``one`` and ``two``, in front of two endpoints."""

    def __init__(self, running: Running, urls: dict[str, str], endpoints: list[str]) -> None:
        self.running = running
        self.urls = urls
        self.endpoints = endpoints

    def metric(self, router: str, name: str, labels: str = "") -> float | None:
        with asking(self.urls[router]) as client:
            page = client.get("/metrics").text
        found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", page, re.MULTILINE)
        return None if found is None else float(found[1])

    def until(self, holds: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds():
            logs = "\n".join(self.running.log(name)[-2000:] for name in self.urls)
            assert time.monotonic() < deadline_s, logs
            time.sleep(0.05)

    def acquainted(self) -> None:
        self.until(lambda: all(self.metric(n, "foretoken_routers_known") == 1.0 for n in self.urls))

    def trains(self) -> list[str]:
        return [n for n in self.urls if self.metric(n, "foretoken_routers_training") == 1.0]

    def post(self, router: str, body: dict[str, object], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with asking(self.urls[router]) as client:
            return client.post("/v1/chat/completions", json=body, headers=named)

    def change(self, router: str, path: str) -> None:
        with asking(self.urls[router]) as client:
            client.post(path).raise_for_status()

    def dearest(self, router: str) -> str | None:
        """Name the endpoint where a request would cost most, ``None`` where all cost the same."""
        body = {"model": MODEL, "prompt_tokens": 10}
        with asking(self.urls[router]) as client:
            seen = client.post("/foretoken/predict", json=body).json()["candidates"]
        costs = {each["endpoint"]: each["cost"] for each in seen}
        return None if len(set(costs.values())) == 1 else max(costs, key=lambda name: costs[name])


def configured(tmp_path: Path, name: str, port: int, ends: list[int], url: str, top: str) -> Path:
    config = tmp_path / f"{name}.toml"
    config.write_text(
        f'{top}[proxy]\nport = {port}\n[store]\ndirectory = "{tmp_path / "models"}"\n'
        f'[routers]\nurl = "{url}"\nname = "{name}"\nlease_s = 2.0\n'
        '[scheduler]\nsession = "strict"\n'
        + "".join(f'[[endpoints]]\nurl = "http://127.0.0.1:{each}"\n' for each in ends)
    )
    return config


@pytest.fixture(params=["one worker", "two workers"])
def routers(request: pytest.FixtureRequest, tmp_path: Path, store: Store) -> Iterator[Routers]:
    top = "workers = 2\n" if request.param == "two workers" else ""
    left, right, one, two = free_ports(4)
    with Running(tmp_path) as running:
        running.start_endpoint("left", left)
        running.start_endpoint("right", right)
        urls = {"one": f"http://127.0.0.1:{one}", "two": f"http://127.0.0.1:{two}"}
        for name, port in (("one", one), ("two", two)):
            config = configured(tmp_path, name, port, [left, right], store.url, top)
            running.start(name, "serve", "--config", str(config), "--log-format", "json")
        for name, url in urls.items():
            running.until(name, f"{url}/ready", '"down":[]')
            running.until_logged(name, '"event": "serving"')
        yield Routers(running, urls, [f"127.0.0.1:{port}" for port in (left, right)])
        for name in urls:
            running.terminate(name)


def test_two_routers_serve_as_one(
    routers: Routers, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    routers.acquainted()
    routers.until(routers.trains)

    check_that_sessions_stay(routers)
    check_that_bookings_are_seen(routers)
    check_that_a_drain_holds_everywhere(routers)
    check_that_status_knows_the_other(routers, capsys)
    check_that_nothing_is_lost_without_the_server(routers, store)
    check_that_another_one_trains_when_the_first_is_gone(routers)


def check_that_sessions_stay(routers: Routers) -> None:
    """A conversation that meets another router with every turn stays at its endpoint."""
    for talk in ("first", "second", "third"):
        went: set[str] = set()
        for turn in range(4):
            answer = routers.post(("one", "two")[turn % 2], ask(f"{turn}"), x_session_id=talk)
            went.add(answer.headers["x-foretoken-endpoint"])
            time.sleep(0.1)  # a person reads; what was sent is told within 20 ms
        assert len(went) == 1


def check_that_bookings_are_seen(routers: Routers) -> None:
    """What one has in flight, another's decisions avoid."""
    long = {**ask("tell me", tokens=4000), "stream": True, "ignore_eos": True}
    with (
        asking(routers.urls["one"]) as client,
        client.stream("POST", "/v1/chat/completions", json=long) as streaming,
    ):
        busy = streaming.headers["x-foretoken-endpoint"]
        routers.until(lambda: routers.dearest("two") == busy)
        answer = routers.post("two", ask("and now"))

    assert answer.headers["x-foretoken-endpoint"] != busy


def check_that_a_drain_holds_everywhere(routers: Routers) -> None:
    drained, other = routers.endpoints

    routers.change("one", f"/foretoken/endpoints/{drained}/drain")
    routers.until(lambda: is_draining(routers, "two", drained))
    went = {
        routers.post("two", ask(str(number))).headers["x-foretoken-endpoint"] for number in range(6)
    }
    routers.change("two", f"/foretoken/endpoints/{drained}/undrain")
    routers.until(lambda: not is_draining(routers, "one", drained))

    assert went == {other}


def is_draining(routers: Routers, router: str, endpoint: str) -> bool:
    label = f'{{endpoint="{endpoint}"}}'
    return routers.metric(router, "foretoken_endpoint_draining", label) == 1.0


def check_that_nothing_is_lost_without_the_server(routers: Routers, store: Store) -> None:
    connected = "foretoken_routers_connected"

    store.freeze()
    answers = [routers.post(name, ask(name)) for name in routers.urls for _ in range(5)]
    routers.until(lambda: all(routers.metric(n, connected) == 0.0 for n in routers.urls))
    store.thaw()
    store.kill()
    answers += [routers.post(name, ask(name)) for name in routers.urls for _ in range(5)]
    assert routers.trains() == []
    apart = httpx.get(f"{routers.urls['one']}/foretoken/routers").json()
    assert (apart["connected"], apart["problem"]) in {(False, "refused"), (False, "timeout")}
    store.start()
    routers.acquainted()
    answers += [routers.post(name, ask(name)) for name in routers.urls for _ in range(5)]

    assert {answer.status_code for answer in answers} == {200}


def check_that_status_knows_the_other(routers: Routers, capsys: pytest.CaptureFixture[str]) -> None:
    run(["status", "--url", routers.urls["one"], "--json"])
    told = json.loads(capsys.readouterr().out)

    (other,) = told["routers"].pop("others")
    trains = {told["routers"].pop("training"), other.pop("training")}
    assert told["routers"] == {
        "configured": True,
        "name": "one",
        "connected": True,
        "problem": None,
        "shares_store": True,
    }
    assert (other["name"], other["same_store"]) == ("two", True)
    assert trains == {True, False}
    assert not any("router" in trouble for trouble in told["troubles"])


def check_that_another_one_trains_when_the_first_is_gone(routers: Routers) -> None:
    routers.until(lambda: len(routers.trains()) == 1)
    (first,) = routers.trains()
    (other,) = set(routers.urls) - {first}

    routers.running.kill(first)
    routers.urls.pop(first)

    routers.until(lambda: routers.trains() == [other])
    assert routers.metric(other, "foretoken_trainer_up") == 1.0
