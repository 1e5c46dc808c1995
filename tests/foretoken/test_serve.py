"""The whole service as people run it: real processes, real sockets, simulated endpoints.

Starting one costs seconds of CPU, so the tests share it, and each leaves it as it found it.
"""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import openai
import pytest

from foretoken.cli import run
from foretoken.processes import free_ports
from tests.foretoken.running import Running, asking

MODEL = "llama-3.1-8b"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "tell me"}], "max_tokens": 8}


class Service(NamedTuple):
    running: Running
    url: str
    config: Path
    endpoints: dict[str, int]  # name of the process -> port

    def ask(self, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with asking(self.url) as client:
            return client.post("/v1/chat/completions", json=ASK, headers=named)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two simulated endpoints and the proxy in front of them, ready."""
    folder = tmp_path_factory.mktemp("service")
    one, two, port = free_ports(3)
    config = folder / "foretoken.toml"
    config.write_text(
        f'data_dir = "{folder / "data"}"\n[proxy]\nport = {port}\n'
        "[scrape]\ntimeout_s = 0.3\n"
        + "".join(f'[[endpoints]]\nurl = "http://127.0.0.1:{each}"\n' for each in (one, two))
    )
    with Running(folder) as running:
        running.start_endpoint("one", one)
        running.start_endpoint("two", two)
        running.start("foretoken", "serve", "--config", str(config))
        url = f"http://127.0.0.1:{port}"
        running.until("foretoken", f"{url}/ready", '"down":[]')
        yield Service(running, url, config, {"one": one, "two": two})


def test_the_openai_client_talks_to_it_and_everything_is_accounted_for(service: Service) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)

    models = [model.id for model in client.models.list()]
    answer = client.chat.completions.create(**ASK)  # type: ignore[call-overload]  # a plain dict
    raw = client.chat.completions.with_raw_response.create(**ASK)  # type: ignore[call-overload]  # a plain dict
    stream = list(client.chat.completions.create(**ASK, stream=True))  # type: ignore[call-overload]  # a plain dict
    text = client.completions.create(model=MODEL, prompt="once upon", max_tokens=4)
    with pytest.raises(openai.NotFoundError) as absent:
        client.chat.completions.create(**{**ASK, "model": "absent"})  # type: ignore[call-overload]  # a plain dict
    with asking(service.url) as looking:
        metrics = looking.get("/metrics").text
        decisions = looking.get("/foretoken/decisions").json()

    assert models == [MODEL]
    assert answer.usage.completion_tokens == 8
    assert text.usage is not None
    assert text.usage.completion_tokens == 4
    assert len([chunk for chunk in stream if chunk.choices]) >= 8
    assert all(chunk.usage is None for chunk in stream)
    assert MODEL in str(absent.value)
    assert float(raw.headers["x-foretoken-predicted-ttft-ms"]) > 0
    assert float(raw.headers["x-foretoken-predicted-tpot-ms"]) > 0
    why = {each["request_id"]: each["reason"] for each in decisions}
    assert raw.headers["x-foretoken-reason"] == why[raw.headers["x-request-id"]]
    assert 'foretoken_request_ttft_seconds_count{model_name="llama-3.1-8b"' in metrics
    assert 'foretoken_request_predicted_ttft_seconds_count{model_name="llama-3.1-8b"' in metrics
    assert 'foretoken_inflight_requests{endpoint="127.0.0.1:' in metrics


def test_bad_objectives_are_refused_in_openais_form(service: Service) -> None:
    answers = [
        service.ask(x_slo_ttft_ms="fast"),
        service.ask(x_llm_d_slo_tpot_ms="-1"),
        service.ask(x_slo_tier="gold"),
    ]
    good = service.ask(x_slo_ttft_ms="500", x_slo_tier="interactive")

    assert [answer.status_code for answer in answers] == [400, 400, 400]
    assert "x-slo-ttft-ms" in answers[0].json()["error"]["message"]
    assert "interactive" in answers[2].json()["error"]["message"]
    assert good.status_code == 200


def test_a_hung_endpoint_gives_back_what_it_has_not_begun_to_answer(service: Service) -> None:
    slow = {**ASK, "max_tokens": 400}

    async def scenario() -> list[httpx.Response]:
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"{service.url}/v1/chat/completions"
            asked = [asyncio.create_task(client.post(url, json=slow)) for _ in range(8)]
            for name in ("one", "two"):  # a request has arrived at each
                await asyncio.to_thread(
                    service.running.until,
                    name,
                    f"http://127.0.0.1:{service.endpoints[name]}/metrics",
                    re.compile(r"vllm:num_requests_running\{[^}]*\} [1-9]"),
                )
            service.running.stop("one")
            return await asyncio.gather(*asked)

    answers = asyncio.run(scenario())
    service.running.resume("one")
    service.running.until("foretoken", f"{service.url}/ready", '"down":[]')
    log = service.running.log("foretoken")

    hung = f"127.0.0.1:{service.endpoints['one']}"
    assert any("dispatch_failed" in line and hung in line for line in log.splitlines())
    assert [answer.status_code for answer in answers] == [200] * 8
    served = {answer.headers["x-foretoken-endpoint"] for answer in answers}
    assert f"127.0.0.1:{service.endpoints['two']}" in served


def test_a_killed_endpoint_costs_only_streams_it_had_begun(service: Service) -> None:
    async def ask(client: httpx.AsyncClient, number: int) -> str:
        body = {**ASK, "max_tokens": 60, "stream": True}
        body["messages"] = [{"role": "user", "content": f"number {number} " * 200}]
        text = ""
        try:
            async with client.stream(
                "POST", f"{service.url}/v1/chat/completions", json=body
            ) as got:
                if got.status_code != 200:
                    return f"HTTP {got.status_code}"
                async for part in got.aiter_text():
                    text += part
        except httpx.RemoteProtocolError:
            return "cut" if text else "refused"
        if "[DONE]" in text:
            return "whole"
        return "cut" if '"content"' in text else "refused"

    async def scenario() -> list[str]:
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as c:
            tasks = [asyncio.create_task(ask(c, number)) for number in range(60)]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            service.running.kill("one")
            tasks += [asyncio.create_task(ask(c, number)) for number in range(60, 90)]
            return await asyncio.gather(*tasks)

    ends = asyncio.run(scenario())
    dead = f"127.0.0.1:{service.endpoints['one']}"
    service.running.until("foretoken", f"{service.url}/ready", f'"down":["{dead}"]')
    after = [service.ask() for _ in range(5)]
    service.running.start_endpoint("one", service.endpoints["one"])
    service.running.until("foretoken", f"{service.url}/ready", '"down":[]')

    assert set(ends) <= {"whole", "cut"}
    assert ends[60:] == ["whole"] * 30
    assert [answer.status_code for answer in after] == [200] * 5


def test_modes_and_reload_change_a_running_service(service: Service) -> None:
    text = service.config.read_text()
    with asking(service.url) as client:

        def reason() -> str:
            return service.ask().headers["x-foretoken-reason"]

        def switch(mode: str) -> None:
            client.put("/foretoken/mode", json={"mode": mode}).raise_for_status()

        switch("heuristic")
        killed = reason()
        service.config.write_text(text + '[scheduler.policy]\nkind = "round_robin"\n')
        service.running.until_logged("foretoken", "configuration_reloaded")
        still_killed = reason()
        switch("predicted")
        reloaded = reason()
        service.config.write_text(text.replace("[proxy]\nport", "seed = 1\n[proxy]\nport"))
        refused = client.post("/foretoken/reload")
        service.config.write_text("")
        emptied = client.post("/foretoken/reload")
        after = reason()
        service.config.write_text(text)
        client.post("/foretoken/reload").raise_for_status()

    assert "names no endpoint" in emptied.json()["error"]["message"]
    assert (killed, still_killed, reloaded) == ("kill_switch", "kill_switch", "policy")
    assert refused.status_code == 400
    assert "needs a restart: seed" in refused.json()["error"]["message"]
    assert after == "policy"


def test_it_stops_cleanly_and_starts_warm_serving_whoever_comes_meanwhile(
    service: Service,
) -> None:
    async def load() -> None:
        async with httpx.AsyncClient(timeout=60) as client:
            waves = [
                [
                    client.post(
                        f"{service.url}/v1/chat/completions",
                        json={
                            **ASK,
                            "messages": [{"role": "user", "content": f"{wave} {number} " * 50}],
                        },
                    )
                    for number in range(20)
                ]
                for wave in range(6)
            ]
            for wave in waves:
                for answer in await asyncio.gather(*wave):
                    answer.raise_for_status()

    asyncio.run(load())
    data = service.config.parent / "data"
    status = service.running.terminate("foretoken")
    trained = data.parent / "trained.json"
    service.running.start(
        "train", "train", str(data / "traces"), "--store", str(data / "models"),
        "--json", str(trained),
    )  # fmt: skip
    status_of_training = service.running.wait("train")
    version = json.loads(trained.read_text())[MODEL]["version"]
    service.running.start("foretoken", "serve", "--config", str(service.config))
    answer = first_answer(service)
    service.running.until("foretoken", f"{service.url}/foretoken/models", version)

    assert (status, status_of_training) == (0, 0)
    assert answer.status_code == 200
    assert "Traceback" not in service.running.log("foretoken")


def first_answer(service: Service) -> httpx.Response:
    """Ask what has just been started, again and again until it listens."""
    while True:
        try:
            return service.ask()
        except httpx.ConnectError:
            time.sleep(0.01)


def test_an_invalid_configuration_stops_the_start_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "foretoken.toml"
    config.write_text("[proxy]\nport = 70000\n")

    status = run(["serve", "--config", str(config)])
    said = capsys.readouterr().err

    assert status == 2
    assert "proxy.port = 70000" in said
    assert said.count("\n") == 1


def test_an_endpoint_that_is_down_at_start_is_picked_up_when_it_comes(tmp_path: Path) -> None:
    endpoint, port = free_ports(2)
    url = f"http://127.0.0.1:{port}"
    with Running(tmp_path) as running, asking(url) as client:
        running.start(
            "foretoken", "serve", "--endpoint", f"http://127.0.0.1:{endpoint}", "--port", str(port)
        )
        running.until("foretoken", f"{url}/health")
        ready = client.get("/ready")
        shown = client.get("/foretoken/endpoints").json()
        refused = client.post("/v1/chat/completions", json=ASK)
        running.start_endpoint("late", endpoint)
        running.until("foretoken", f"{url}/ready", '"down":[]')
        served = client.post("/v1/chat/completions", json=ASK)

    assert ready.status_code == 503
    assert [each["up"] for each in shown] == [False]
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert served.status_code == 200
