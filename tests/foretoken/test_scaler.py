"""The external scaler, asked by gRPC's own client, in front of real metrics pages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from foretoken.scaler.messages import SERVICE, message_classes
from foretoken.scaler.routers import BELIEVED_S, Need, Routers, read_page, together
from foretoken.scaler.server import METRIC, start
from proxy import OutlookCollector, QueueCollector
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

URL = "http://127.0.0.1:1"
OF = message_classes()


def page(model: str = "m", **values: float) -> str:
    names = {
        "needed": "foretoken_fleet_needed_endpoints",
        "demand": "foretoken_fleet_demand_requests_per_second",
        "share": "foretoken_demand_share_ratio",
        "waiting": "foretoken_waiting_requests",
    }
    lines = [f'{names[name]}{{model_name="{model}"}} {value}\n' for name, value in values.items()]
    return "".join(lines)


class Place:
    """Routers whose pages a test writes, and a clock it turns."""

    def __init__(self, *urls: str) -> None:
        self.pages: dict[str, str | int] = {}
        self.now = 0.0
        transport = httpx.MockTransport(self._answer)
        self.client = httpx.AsyncClient(transport=transport)
        self.routers = Routers(urls or (URL,), self.client, lambda: self.now)

    def _answer(self, asked: httpx.Request) -> httpx.Response:
        told = self.pages.get(f"http://{asked.url.host}:{asked.url.port}", 503)
        return httpx.Response(told) if isinstance(told, int) else httpx.Response(200, text=told)


@asynccontextmanager
async def calls(place: Place) -> AsyncIterator[Callable[..., Any]]:
    await place.routers.look()
    server, port = await start(place.routers, host="127.0.0.1", port=0, watch_s=0.01)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:

        async def call(name: str, answer: str, asked: object) -> Any:
            ask = channel.unary_unary(
                f"/{SERVICE}/{name}",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=OF[answer].FromString,
            )
            return await ask(asked)

        call.channel = channel  # type: ignore[attr-defined]  # for streams
        yield call
    await server.stop(0)
    await place.client.aclose()


def ref(**metadata: str) -> Any:
    return OF["ScaledObjectRef"](name="vllm", namespace="llm", scalerMetadata=metadata)


def asked(**metadata: str) -> Any:
    return OF["GetMetricsRequest"](scaledObjectRef=ref(**metadata), metricName=METRIC)


def test_keda_is_told_how_many_endpoints_are_needed() -> None:
    async def scenario() -> None:
        place = Place()
        place.pages[URL] = page(needed=2.3, demand=4.0)
        async with calls(place) as call:
            active = await call("IsActive", "IsActiveResponse", ref())
            spec = await call("GetMetricSpec", "GetMetricSpecResponse", ref())
            metrics = await call("GetMetrics", "GetMetricsResponse", asked())

        assert active.result
        (wanted,) = spec.metricSpecs
        assert (wanted.metricName, wanted.targetSize, wanted.targetSizeFloat) == (METRIC, 1, 1.0)
        (value,) = metrics.metricValues
        assert (value.metricName, value.metricValue, value.metricValueFloat) == (METRIC, 3, 3.0)

    asyncio.run(scenario())


def test_what_nobody_can_tell_is_an_error_and_never_nothing() -> None:
    async def scenario() -> None:
        place = Place()
        place.pages[URL] = page(demand=4.0)
        async with calls(place) as call:
            with pytest.raises(grpc.aio.AioRpcError) as unknown:
                await call("GetMetrics", "GetMetricsResponse", asked())
            active = await call("IsActive", "IsActiveResponse", ref())
            with pytest.raises(grpc.aio.AioRpcError) as other:
                await call("GetMetrics", "GetMetricsResponse", asked(modelName="x"))

        assert unknown.value.code() == grpc.StatusCode.UNAVAILABLE
        assert active.result
        assert "they tell of: m" in (other.value.details() or "")

    asyncio.run(scenario())


def test_of_several_fleets_one_has_to_be_named() -> None:
    async def scenario() -> None:
        place = Place()
        place.pages[URL] = page(needed=2.0) + page("n", needed=5.0)
        async with calls(place) as call:
            with pytest.raises(grpc.aio.AioRpcError) as unnamed:
                await call("GetMetrics", "GetMetricsResponse", asked())
            named = await call("GetMetrics", "GetMetricsResponse", asked(modelName="n"))

        assert unnamed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert named.metricValues[0].metricValue == 5

    asyncio.run(scenario())


def test_a_fleet_without_traffic_is_idle_and_wakes_with_the_first_request() -> None:
    async def scenario() -> list[bool]:
        place = Place()
        place.pages[URL] = page(needed=0.0, demand=0.0, waiting=0.0)
        async with calls(place) as call:
            stream = call.channel.unary_stream(  # type: ignore[attr-defined]  # set by calls
                f"/{SERVICE}/StreamIsActive",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=OF["IsActiveResponse"].FromString,
            )(ref())
            found = [(await stream.read()).result]
            place.pages[URL] = page(needed=0.0, demand=0.0, waiting=1.0)
            await place.routers.look()
            found.append((await stream.read()).result)
            stream.cancel()
        return found

    assert asyncio.run(scenario()) == [False, True]


def test_the_health_protocol_is_answered_for_kubernetes() -> None:
    async def scenario() -> int:
        async with calls(Place()) as call:
            stub = health_pb2_grpc.HealthStub(call.channel)  # type: ignore[attr-defined]  # set by calls
            answer = await stub.Check(health_pb2.HealthCheckRequest())
            return int(answer.status)

    assert asyncio.run(scenario()) == 1


def test_a_router_that_falls_silent_is_believed_for_a_while() -> None:
    async def scenario() -> list[float | None]:
        other = "http://127.0.0.1:2"
        place = Place(URL, other)
        place.pages = {URL: page(needed=2.0), other: page(needed=3.0)}
        found = []
        for now, silent in ((0.0, False), (BELIEVED_S / 2, True), (BELIEVED_S + 1.0, True)):
            place.now = now
            if silent:
                place.pages[other] = 503
            await place.routers.look()
            found.append(place.routers.of("m").endpoints)
        await place.client.aclose()
        return found

    assert asyncio.run(scenario()) == [5.0, 5.0, 2.0]


def test_a_name_stands_for_all_its_addresses() -> None:
    async def scenario() -> float | None:
        place = Place("http://localhost:3")
        place.pages = {"http://127.0.0.1:3": page(needed=2.0), "http://::1:3": page(needed=2.0)}
        await place.routers.look()
        await place.client.aclose()
        return place.routers.of("m").endpoints

    assert asyncio.run(scenario()) in {2.0, 4.0}  # with or without IPv6


@given(st.lists(st.floats(min_value=0.01, max_value=1.0), min_size=1, max_size=8))
def test_routers_that_know_of_each_other_add_up_to_one_fleet(parts: list[float]) -> None:
    shares = [part / sum(parts) for part in parts]

    whole = together([Need(endpoints=6.0, own_ratio=share) for share in shares])

    assert whole.endpoints == pytest.approx(6.0)


def test_a_router_without_traffic_leaves_the_number_to_the_others() -> None:
    whole = together([Need(endpoints=4.0, demand_per_s=3.0), Need(demand_per_s=0.0)])

    assert whole.endpoints == 4.0


@given(st.text())
def test_a_page_of_anything_is_read_or_refused_cleanly(text: str) -> None:
    with suppress(ValueError):
        read_page(text)


def test_the_page_of_a_real_router_is_understood() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", max_seqs=64)])
    for number in range(1000):
        scheduler.route(request(str(number)), now=number / 10)
    registry = CollectorRegistry()
    registry.register(OutlookCollector(scheduler, lambda: 100.0))
    registry.register(QueueCollector(scheduler, lambda: 100.0))

    need = read_page(generate_latest(registry).decode())["m"]

    assert need.demand_per_s == pytest.approx(10.0, rel=0.05)
    assert need.own_ratio == 1.0
    assert need.endpoints is not None
