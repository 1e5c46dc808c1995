"""The server on a loopback port, asked by gRPC's own client."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from predictor.kv_cache import BlocksStored
from proxy import ProxySettings
from proxy.picker.server import PickerServer
from tests.proxy.harness import until
from tests.proxy.picker.told import (
    BUFFERED,
    CHAT,
    DUPLEX,
    FAST,
    NONE,
    Table,
    body_of,
    chat,
    destination,
)
from tests.scheduler.known_physics import endpoint

pytestmark = pytest.mark.anyio
SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # gRPC's client brings its own poller


@asynccontextmanager
async def serving(
    table: Table, settings: ProxySettings | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            PickerServer(table.picker, settings or ProxySettings(shutdown_s=0), listener),
        ):
            yield channel


def _headers(mode: int, response_mode: int = NONE, *pairs: tuple[str, str]) -> Any:
    message = ext_proc.ProcessingRequest()
    for name, value in ((":method", "POST"), (":path", CHAT), *pairs):
        message.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    message.protocol_config.request_body_mode = mode
    message.protocol_config.response_body_mode = response_mode
    return message


def _body(body: bytes, *, response: bool = False) -> Any:
    part = {"body": body, "end_of_stream": True}
    return ext_proc.ProcessingRequest(**{"response_body" if response else "request_body": part})


def _response_headers() -> Any:
    message = ext_proc.ProcessingRequest()
    message.response_headers.headers.headers.add(key=":status", raw_value=b"200")
    return message


async def test_a_whole_exchange_goes_over_the_wire_whatever_its_size() -> None:
    table = Table()
    request, response = chat(padding="x" * 3_000_000), b"y" * 2_000_000
    answers: list[Any] = []
    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(DUPLEX, DUPLEX))
        await stream.write(_body(request))
        while not (answers and body_of(answers)[1]):
            answers.append(await stream.read())
        await stream.write(_response_headers())
        await stream.write(_body(response, response=True))
        while not body_of(answers, "response_body")[1]:
            answers.append(await stream.read())
        await stream.done_writing()
        assert await stream.read() == grpc.aio.EOF
        assert await stream.code() == grpc.StatusCode.OK

    assert destination(answers) == FAST
    assert body_of(answers)[0] == request
    assert body_of(answers, "response_body")[0] == response
    assert [record.measurement.outcome for record in table.records] == ["completed"]


async def test_a_client_that_cancels_releases_its_booking() -> None:
    table = Table()
    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(NONE))
        await stream.read()
        assert table.scheduler.inflight_requests == 1

        stream.cancel()
        await until(lambda: bool(table.records))

    assert table.scheduler.inflight_requests == 0
    assert table.records[0].measurement.outcome == "client_gone"


async def test_a_refused_request_ends_its_stream_well() -> None:
    async with serving(Table()) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(NONE, NONE, ("x-slo-ttft-ms", "soon")))

        answer = await stream.read()

        assert answer.immediate_response.status.code == 400
        assert await stream.read() == grpc.aio.EOF
        assert await stream.code() == grpc.StatusCode.OK


async def test_a_request_waits_until_an_endpoint_is_up() -> None:
    table = Table([endpoint(FAST, up=False)])
    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(BUFFERED))
        await stream.read()
        await stream.write(_body(chat()))
        asked = await stream.read()
        assert asked.override_message_timeout.seconds >= 1
        assert table.scheduler.waiting_requests == 1

        table.scheduler.update([endpoint(FAST)])
        table.picker.tick()

        assert destination([await stream.read()]) == FAST


async def test_the_timer_lets_waiting_requests_go_too() -> None:
    table = Table([endpoint(FAST, up=False)])
    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(NONE))
        await stream.read()  # for more time
        table.scheduler.update([endpoint(FAST)])

        assert destination([await stream.read()]) == FAST


async def test_prompts_are_tokenized_where_a_cache_is_known_by_tokens() -> None:
    asked: list[tuple[str, bytes]] = []

    class Tokens:
        async def of(self, path: str, payload: bytes) -> bytes | None:
            asked.append((path, payload))
            return b"\x01\0\0\0" * 9

    table = Table(tokens=Tokens())
    caches = table.scheduler.caches
    caches.begin(FAST, whole=True)  # it announces what it caches
    tokens = b"\x01\0\0\0" * 16
    caches.hear(FAST, [BlocksStored(hashes=[1], parent=None, tokens=tokens, block_tokens=16)])
    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(DUPLEX))
        await stream.write(_body(chat()))
        assert destination([await stream.read()]) == FAST
        stream.cancel()
        await until(lambda: bool(table.records))

    assert asked == [(CHAT, chat())]
    assert table.records[0].request.prompt_tokens == 9


async def test_what_is_no_message_ends_its_stream_alone() -> None:
    async with serving(Table()) as channel:
        process = channel.stream_stream(f"/{SERVICE}/Process")
        wrong, right = process(), process()
        await wrong.write(b"\xff\xff\xff")
        assert await wrong.code() == grpc.StatusCode.INVALID_ARGUMENT

        await right.write(_headers(NONE).SerializeToString())

        assert isinstance(await right.read(), bytes)


async def test_a_fault_of_ours_ends_its_stream_alone(caplog: pytest.LogCaptureFixture) -> None:
    table = Table()

    def broken() -> float:
        raise ZeroDivisionError

    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(BUFFERED))
        await stream.read()
        table.picker.clock, clock = broken, table.picker.clock
        await stream.write(_body(chat()))
        assert await stream.code() == grpc.StatusCode.INTERNAL
        table.picker.clock = clock

    assert "picker_failed" in caplog.text
    assert table.scheduler.inflight_requests == 0


async def test_another_method_is_unimplemented() -> None:
    async with serving(Table()) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary("/somebody/Else")(b"")

    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_by_service() -> None:
    table = Table()
    async with serving(table) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def status(service: str) -> int:
            reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            return int(reply.status)

        up = [await status(name) for name in ("", "liveness", "readiness", SERVICE)]
        table.scheduler.update([endpoint(FAST, up=False)])
        down = [await status(name) for name in ("", "liveness", "readiness", SERVICE)]
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await status("nobody")

    assert up == [1, 1, 1, 1]
    assert down == [2, 1, 2, 1]
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


async def test_who_watches_the_health_hears_when_endpoints_come_and_go() -> None:
    table = Table()
    async with serving(table) as channel:
        request = health_pb2.HealthCheckRequest(service="readiness")
        watch = health_pb2_grpc.HealthStub(channel).Watch(request)
        seen = [(await watch.read()).status]

        table.scheduler.update([endpoint(FAST, up=False)])
        seen.append((await watch.read()).status)
        table.scheduler.update([endpoint(FAST)])
        seen.append((await watch.read()).status)

    assert seen == [1, 2, 1]


async def test_who_watches_the_health_hears_of_the_drain_and_is_let_go() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = PickerServer(Table().picker, ProxySettings(shutdown_s=10), listener)
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        async with grpc.aio.insecure_channel(target) as channel, server:
            stub = health_pb2_grpc.HealthStub(channel)
            stranger = stub.Watch(health_pb2.HealthCheckRequest(service="nobody"))
            watch = stub.Watch(health_pb2.HealthCheckRequest(service="readiness"))
            seen = [(await stranger.read()).status, (await watch.read()).status]

            server.drain()

            seen.append((await watch.read()).status)
            assert await watch.read() == grpc.aio.EOF
    assert seen == [3, 1, 2]


async def test_a_drain_waits_for_what_runs_and_then_breaks_it_off() -> None:
    table = Table()
    async with serving(table, ProxySettings(shutdown_s=0)) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(NONE))
        await stream.read()

    assert table.scheduler.inflight_requests == 0
    assert table.records[0].measurement.outcome == "client_gone"


async def test_what_is_held_is_let_go_when_the_service_ends() -> None:
    table = Table()
    async with serving(table) as channel:
        stream = ext_proc_grpc.ExternalProcessorStub(channel).Process()
        await stream.write(_headers(NONE, NONE, ("content-length", "4000")))
        await stream.read()
        message = _response_headers()
        message.response_headers.headers.headers.add(
            key="content-type", raw_value=b"text/event-stream"
        )
        await stream.write(message)
        await stream.read()
        stream.cancel()
        await until(lambda: bool(table.picker._held))
        assert table.records == []

    assert [record.measurement.outcome for record in table.records] == ["completed"]
