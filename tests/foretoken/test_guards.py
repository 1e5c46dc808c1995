"""Keys, hung engines, drains and changes of the fleet, on the service as people run it.

All but the test of keys share one service, which takes requests from everywhere.
"""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from foretoken.cli import run
from foretoken.processes import free_ports
from tests.foretoken.running import PATIENCE_S, Running, asking

MODEL = "llama-3.1-8b"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "tell me"}], "max_tokens": 8}
OLD, NEW, ADMIN = "sk-old-0123456789", "sk-new-0123456789", "sk-admin-0123456789"


class Service(NamedTuple):
    running: Running
    url: str
    folder: Path
    endpoints: list[str]  # host:port

    def ask(self, **headers: str) -> httpx.Response:
        with asking(self.url) as client:
            return client.post("/v1/chat/completions", json=ASK, headers=headers)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(f'[team]\nkey = "{OLD}"\n[boss]\nkey = "{ADMIN}"\nadmin = true\n')
    return path


def started(folder: Path, settings: str, *flags: str) -> Iterator[Service]:
    one, two, port = free_ports(3)
    config = folder / "foretoken.toml"
    config.write_text(
        f"{settings}\n[trainer]\nenabled = false\n"
        + "".join(f'[[endpoints]]\nurl = "http://127.0.0.1:{each}"\n' for each in (one, two))
    )
    with Running(folder) as running:
        running.start_endpoint("one", one)
        running.start_endpoint("two", two)
        running.start("foretoken", "serve", "--config", str(config), "--port", str(port), *flags)
        url = f"http://127.0.0.1:{port}"
        running.until("foretoken", f"{url}/ready", '"down":[]')
        yield Service(running, url, folder, [f"127.0.0.1:{one}", f"127.0.0.1:{two}"])


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = "[proxy.stalls]\nfloor_s = 0.5\ninterval_s = 0.1\n[scheduler]\nstill_after_s = 1.0"
    yield from started(
        *(tmp_path_factory.mktemp("open"), settings),
        *("--host", "0.0.0.0"),  # noqa: S104  # what is to be warned of
    )


def test_keys_rotate_without_a_restart(tmp_path: Path, keys_file: Path) -> None:
    for service in started(tmp_path, f'[proxy.access]\nkeys_file = "{keys_file}"'):
        before = [service.ask(authorization=f"Bearer {key}").status_code for key in (OLD, NEW)]
        nobody = service.ask()
        keys_file.write_text("[team\n")
        service.running.until_logged("foretoken", "keys_not_reloaded")
        still = service.ask(authorization=f"Bearer {OLD}").status_code
        keys_file.write_text(f'[team]\nkey = "{NEW}"\n')
        service.running.until_logged("foretoken", "keys_reloaded")
        after = [service.ask(authorization=f"Bearer {key}").status_code for key in (OLD, NEW)]
        log = service.running.log("foretoken")

        assert (before, nobody.status_code, still, after) == ([200, 401], 401, 200, [401, 200])
        assert nobody.json()["error"]["code"] == "invalid_api_key"
        assert not any(key in log for key in (OLD, NEW, ADMIN))


def test_unusable_keys_stop_the_start_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "foretoken.toml"
    config.write_text(
        '[proxy.access]\nkeys_file = "missing.toml"\n[[endpoints]]\nurl = "http://127.0.0.1:1"\n'
    )

    status = run(["serve", "--config", str(config), "--port", "0"])
    said = capsys.readouterr().err

    assert status == 2
    assert "missing.toml" in said
    assert said.count("\n") == 1


def test_a_drained_endpoint_gets_nothing_new_and_a_removed_one_ends_what_it_has(
    service: Service,
) -> None:
    first, second = service.endpoints

    async def scenario() -> tuple[str, set[str], int, list[str], list[str]]:
        async with httpx.AsyncClient(timeout=60) as client:
            admin = f"{service.url}/foretoken/endpoints"
            (await client.post(f"{admin}/{second}/drain")).raise_for_status()
            long = {**ASK, "max_tokens": 300, "stream": True}
            text, began = "", asyncio.Event()

            async def read() -> str:
                nonlocal text
                async with client.stream(
                    "POST", f"{service.url}/v1/chat/completions", json=long
                ) as response:
                    async for part in response.aiter_text():
                        text += part
                        began.set()
                    return response.headers["x-foretoken-endpoint"]

            reading = asyncio.create_task(read())
            await began.wait()
            (await client.post(f"{admin}/{second}/undrain")).raise_for_status()
            removed = await client.delete(f"{admin}/{first}")
            where = {
                (await client.post(f"{service.url}/v1/chat/completions", json=ASK)).headers[
                    "x-foretoken-endpoint"
                ]
                for _ in range(5)
            }
            rows = (await client.get(admin)).json()
            left = [each["endpoint"] for each in rows if not each["draining"]]
            read_from = await reading
            (await client.post(admin, json={"url": f"http://{first}"})).raise_for_status()
            back = [each["endpoint"] for each in (await client.get(admin)).json()]
            assert text.endswith("data: [DONE]\n\n")
            return read_from, where, removed.status_code, left, back

    read_from, where, removed, left, back = asyncio.run(scenario())

    assert (read_from, where, removed) == (first, {second}, 204)
    assert (left, sorted(back)) == ([second], sorted(service.endpoints))


def test_wrong_changes_of_the_fleet_are_refused_in_one_form(service: Service) -> None:
    admin = "/foretoken/endpoints"
    with asking(service.url) as client:
        answers = [
            client.post(admin, json={"url": "ftp://x"}),
            client.post(admin, json={"url": "http://a:1/v1"}),
            client.post(admin, json={"url": "http://a:1", "nonsense": 1}),
            client.post(admin, json={"url": f"http://{service.endpoints[0]}"}),
            client.delete(f"{admin}/nobody:1"),
            client.post(f"{admin}/nobody:1/drain"),
            client.post(f"{admin}/{service.endpoints[0]}/explode"),
        ]
        left = client.get(admin).json()

    assert [answer.status_code for answer in answers] == [422, 422, 422, 409, 404, 404, 422]
    assert all(answer.json()["error"]["message"] for answer in answers)
    assert len(left) == 2


def test_a_router_open_to_the_network_says_so(service: Service) -> None:
    with asking(service.url) as client:
        elsewhere = {"x-forwarded-for": "10.1.2.3"}
        control = client.get("/foretoken/endpoints", headers=elsewhere)
        here = client.get("/foretoken/endpoints")
    said = service.running.log("foretoken")

    assert "open_to_the_network" in said
    assert (control.status_code, here.status_code) == (401, 200)
    assert control.json()["error"]["code"] == "admin_key_required"


def test_a_hung_engine_behind_a_good_health_is_noticed_and_serves_again(service: Service) -> None:
    async def scenario() -> tuple[list[httpx.Response], bool, float]:
        async with httpx.AsyncClient(timeout=60) as client:

            async def ask() -> httpx.Response:
                body = {**ASK, "stream": True}
                return await client.post(f"{service.url}/v1/chat/completions", json=body)

            for _ in range(4):  # both have served, so that gaps are predicted
                await asyncio.gather(*(ask() for _ in range(8)))
            hung, seconds = service.endpoints[0], 3.0
            await client.post(f"http://{hung}/sim/fault?kind=hang&seconds={seconds}")
            began_s = time.monotonic()
            answers = await asyncio.gather(*(ask() for _ in range(16)))
            metrics = (await client.get(f"{service.url}/metrics")).text
            noticed = f'foretoken_endpoint_suspect{{endpoint="{hung}",reason="stalled"}}' in metrics
            healthy = await client.get(f"http://{hung}/health")
            healthy.raise_for_status()
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(0.0, seconds - took_s))
            again_s = time.monotonic()
            while True:
                served = await asyncio.gather(*(ask() for _ in range(8)))
                if any(each.headers["x-foretoken-endpoint"] == hung for each in served):
                    return answers, noticed, time.monotonic() - again_s

    answers, noticed, recovered_s = asyncio.run(scenario())

    assert [answer.status_code for answer in answers] == [200] * 16
    assert all(answer.text.endswith("data: [DONE]\n\n") for answer in answers)
    assert noticed
    assert recovered_s < PATIENCE_S  # three seconds on a machine that does nothing else
    print(f"recovered after {recovered_s:.1f} s")  # noqa: T201  # for whoever looks
