"""Which path goes where, and the answers that are our own."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Message, Receive, Scope, Send

from proxy import ProxyApp
from proxy.answers import send_answer
from tests.fakes import DONE, STREAM_HEAD, FakeEndpoint, chunk, event, usage_event
from tests.proxy.harness import CHAT, running_proxy, state_of
from tests.scheduler.known_physics import KnownPhysics, make_scheduler

pytestmark = pytest.mark.anyio


async def control(scope: Scope, receive: Receive, send: Send) -> None:
    await send_answer(send, 200, scope["path"].encode())


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings",
        "/v1/anything",
        "/tokenize",
        "/v2/rerank",
        "/score",
        "/inference/v1/generate",
    ],
)
async def test_inference_paths_reach_an_endpoint(path: str) -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.post(path, json={"model": "m", "input": "x"})

        assert got.status_code == 200
        assert endpoint.seen[0].target == path


async def test_models_are_the_union_of_the_fleet_with_their_adapters() -> None:
    async with FakeEndpoint() as one, FakeEndpoint() as two:
        states = [state_of(one, adapters=("lora",)), state_of(two, model="other")]
        async with running_proxy(one, two, states=states) as proxy:
            got = (await proxy.client.get("/v1/models")).json()

            assert got["object"] == "list"
            cards = {card["id"]: card["parent"] for card in got["data"]}
            assert cards == {"m": None, "lora": "m", "other": None}
            assert one.seen == two.seen == []


async def test_health_says_that_the_proxy_is_alive_and_ready_that_the_fleet_is() -> None:
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, states=[state_of(endpoint, up=False)]) as proxy,
    ):
        assert (await proxy.client.get("/health")).status_code == 200
        unready = await proxy.client.get("/ready")
        proxy.scheduler.update([state_of(endpoint)])
        ready = await proxy.client.get("/ready")

        assert unready.status_code == 503
        assert unready.json()["down"] == [endpoint.name]
        assert ready.status_code == 200


async def test_an_unknown_path_is_404_in_openai_form() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        got = await proxy.client.get("/nope")

        assert got.status_code == 404
        assert got.json()["error"]["type"] == "invalid_request_error"
        assert endpoint.seen == []


async def test_the_control_plane_gets_its_paths_unchanged() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, control=control) as proxy:
        assert (await proxy.client.get("/foretoken/models")).text == "/foretoken/models"


TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_a_client_that_asks_for_openmetrics_gets_traces_with_the_times() -> None:
    body = {"model": "m", "prompt": "x", "stream": True}
    traceparent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    accept = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}
    script = [STREAM_HEAD, event("a"), event("b"), usage_event(3, 2), DONE, chunk(b"")]
    async with FakeEndpoint(script) as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(CHAT, json=body, headers=traceparent)

        plain = await proxy.client.get("/metrics")
        asked = await proxy.client.get("/metrics", headers=accept)

    assert plain.headers["content-type"].startswith("text/plain")
    assert TRACE not in plain.text
    assert asked.headers["content-type"].startswith("application/openmetrics-text")
    assert asked.text.endswith("# EOF\n")
    exemplar = re.compile(rf'^(\w+)_bucket\{{.*\}} 1\.0 # \{{trace_id="{TRACE}"\}} ', re.MULTILINE)
    stems = ("ttft", "tpot", "e2e")
    assert exemplar.findall(asked.text) == [f"foretoken_request_{stem}_seconds" for stem in stems]


async def test_metrics_tell_predicted_beside_actual() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        await proxy.client.post(CHAT, json={"model": "m", "prompt": "x"})
        page = (await proxy.client.get("/metrics")).text

        names = {family.name for family in text_string_to_metric_families(page)}
        assert {
            "foretoken_request_ttft_seconds",
            "foretoken_request_predicted_ttft_seconds",
            "foretoken_requests",
            "foretoken_endpoint_up",
        } <= names
        labels = 'model_name="m",outcome="completed",reason="predicted",tier="standard"'
        assert f"foretoken_requests_total{{{labels}}} 1.0" in page
        assert f'foretoken_endpoint_up{{endpoint="{endpoint.name}"}} 1.0' in page


async def test_an_endpoint_that_leaves_takes_its_series_with_it() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint) as proxy:
        proxy.scheduler.update([])
        page = (await proxy.client.get("/metrics")).text

        assert endpoint.name not in page


class Lifespan:
    """Drive the lifespan protocol by hand."""

    def __init__(self, *, fails: bool = False) -> None:
        self.events: list[str] = []
        self._fails = fails
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.app = ProxyApp(
            scheduler=make_scheduler(KnownPhysics(), []),
            registry=CollectorRegistry(),
            lifespan=self._run,
        )

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        if self._fails:
            raise RuntimeError("no such directory")
        self.events.append("entered")
        yield
        self.events.append("left")

    async def send(self, message: Message) -> None:
        self.events.append(message["type"])

    async def drive(self) -> None:
        for kind in ("lifespan.startup", "lifespan.shutdown"):
            self._inbox.put_nowait({"type": kind})
        await self.app({"type": "lifespan"}, self._inbox.get, self.send)


async def test_the_lifespan_is_entered_before_and_left_after_serving() -> None:
    lifespan = Lifespan()

    await lifespan.drive()

    assert lifespan.events == [
        "entered",
        "lifespan.startup.complete",
        "left",
        "lifespan.shutdown.complete",
    ]


async def test_a_start_that_fails_is_told() -> None:
    lifespan = Lifespan(fails=True)

    with pytest.raises(RuntimeError):
        await lifespan.drive()

    assert lifespan.events == ["lifespan.startup.failed"]
