import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.data_path.load import Load, Traffic, chat, cycle, send
from benchmarks.data_path.process_tree import TRAINER, used
from benchmarks.data_path.routers import (
    Running,
)
from benchmarks.data_path.stub import Pace, serve
from benchmarks.data_path.turns import in_turns
from benchmarks.data_path.vllm_page import PageTemplate
from collectors import parse_metrics
from foretoken.errors import DemoFailed
from foretoken.processes import free_ports
from tests.fakes import CLOSE, DONE, STREAM_HEAD, FakeEndpoint, Script, event, response


def at_stub(ask: Callable[[int], Awaitable[None]], pace: Pace | None = None) -> None:
    async def play() -> None:
        (port,) = free_ports(1)
        task = asyncio.create_task(serve([port], pace or Pace()))
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except OSError:
                await asyncio.sleep(0)
        writer.close()
        try:
            await ask(port)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(play())


async def post(port: int, body: bytes) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.post(f"http://127.0.0.1:{port}/v1/chat/completions", content=body)


def test_stub_answers_a_chat_with_usage() -> None:
    async def ask(port: int) -> None:
        answer = (await post(port, chat("hello", max_tokens=5))).json()
        assert answer["choices"][0]["message"]["content"] == "hello"
        assert answer["usage"]["completion_tokens"] == 1
        assert answer["usage"]["prompt_tokens"] > 10

    at_stub(ask)


@pytest.mark.parametrize("pace", [Pace(), Pace(ttft_s=0.002, itl_s=0.001)])
def test_stub_streams_an_event_per_token_and_usage_where_asked(pace: Pace) -> None:
    async def ask(port: int) -> None:
        plain = (await post(port, chat("hi", max_tokens=4, stream=True))).text
        counted = chat("hi", max_tokens=4, stream=True, stream_options={"include_usage": True})
        with_usage = (await post(port, counted)).text.split("\n\n")
        assert plain.count("data: {") == 4
        assert plain.endswith("data: [DONE]\n\n")
        assert len(with_usage) == 7  # four tokens, usage, the end, and nothing behind it
        assert json.loads(with_usage[4].removeprefix("data: "))["usage"]["completion_tokens"] == 4

    at_stub(ask, pace)


def test_stub_answers_what_routers_ask_at_their_start() -> None:
    async def ask(port: int) -> None:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            models = (await client.get("/v1/models")).json()
            page = parse_metrics((await client.get("/metrics")).content)
            health = await client.get("/health")
            unknown = await client.post("/v1/chat/completions/render", content=chat("hi"))
        assert [card["id"] for card in models["data"]] == ["stub"]
        assert (page.running_requests, page.waiting_requests) == (0.0, 0.0)
        assert (health.status_code, unknown.status_code) == (200, 404)

    at_stub(ask)


def test_page_is_as_long_as_vllms_and_a_full_parser_reads_it() -> None:
    page = PageTemplate().page(running=3, waiting=2)

    families = list(text_string_to_metric_families(page.decode()))
    parsed = parse_metrics(page)

    assert 55_000 < len(page) < 70_000
    assert {"vllm:num_requests_running", "vllm:cache_config_info"} <= {f.name for f in families}
    assert (parsed.running_requests, parsed.waiting_requests) == (3.0, 2.0)
    assert (parsed.prefix_queries_total, parsed.kv_capacity_tokens) == (4096.0, 524288)


def test_load_counts_answers_and_events() -> None:
    loads: list[Load] = []
    body = chat("hi", max_tokens=7, stream=True)

    async def ask(port: int) -> None:
        traffic = Traffic(make=cycle([body]), connections=3, events=7, requests=20)
        loads.append(await send(port, traffic))

    at_stub(ask)

    assert (loads[0].answered, loads[0].failed, loads[0].events) == (20, 0, 160)
    assert len(loads[0].latencies_s) == len(loads[0].ttfts_s) == 20
    assert len(loads[0].gaps_s) == 20 * 7


@pytest.mark.parametrize(
    "script",
    [
        [response(b"{}", status=b"503 Service Unavailable")],
        [STREAM_HEAD, event("one"), DONE, b"0\r\n\r\n"],  # one token of two
        [STREAM_HEAD, event("one"), event("two"), b"0\r\n\r\n"],  # without its end
        [STREAM_HEAD, event("one"), CLOSE],
        [b"nonsense\r\n\r\n"],
    ],
)
def test_load_with_a_failure_is_no_result(script: Script) -> None:
    async def play() -> None:
        traffic = Traffic(make=cycle([b"{}"]), connections=1, events=2, requests=1)
        async with FakeEndpoint(script) as endpoint:
            with pytest.raises(DemoFailed, match="1 of 1 failed"):
                await send(endpoint.port, traffic)

    asyncio.run(play())


def test_events_cut_anywhere_are_counted_once() -> None:
    whole = b"".join((STREAM_HEAD, event("one"), event("two"), DONE, b"0\r\n\r\n"))
    script = [whole[at : at + 3] for at in range(0, len(whole), 3)]

    async def play() -> Load:
        async with FakeEndpoint(script) as endpoint:
            traffic = Traffic(make=cycle([b"{}"]), connections=1, events=2, requests=1)
            return await send(endpoint.port, traffic)

    load = asyncio.run(play())
    assert load.events == 3  # the end is one too
    assert (len(load.ttfts_s), len(load.gaps_s)) == (1, 2)


def test_nobody_listening_is_no_result() -> None:
    with pytest.raises(DemoFailed, match="port"):
        asyncio.run(send(free_ports(1)[0], Traffic(make=cycle([b"{}"]), connections=1, requests=1)))


def test_what_a_process_started_counts_and_the_trainer_is_told_apart() -> None:
    sleeper = "import sys, time; sum(range(3_000_000)); print(flush=True); time.sleep(60)"
    parent = (
        "import subprocess, sys\n"
        f"mine = subprocess.Popen([sys.executable, '-c', {sleeper!r}], stdout=-1)\n"
        f"other = subprocess.Popen([sys.executable, '-c', {sleeper!r}, bytes({list(TRAINER)})],"
        " stdout=-1)\n"
        "mine.stdout.readline(), other.stdout.readline()\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
        "mine.kill(), other.kill(), mine.wait(), other.wait()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()

        seen = used(process.pid)

        process.communicate()

    assert seen.processes == 2
    assert seen.cpu_s > 0
    assert seen.trainer_s > 0
    assert seen.rss_bytes > 1_000_000


def test_a_process_that_is_gone_used_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert used(process.pid).cpu_s == 0.0


def test_turns_rotate_who_comes_first() -> None:
    order: list[str] = []

    async def ask(port: int) -> None:
        def make(name: str) -> Running:
            return Running(name=name, port=port, pid=os.getpid())

        def body(number: int) -> bytes:
            order.append(str(number))
            return chat("hi")

        traffic = Traffic(make=body, connections=1, requests=2)
        turns = await in_turns([make("a"), make("b")], traffic, 3)
        assert {name: len(each) for name, each in turns.items()} == {"a": 3, "b": 3}
        assert all(turn.requests == 2 and turn.p50_s > 0 for turn in turns["a"])

    at_stub(ask)

    assert order == ["0", "1"] * 6
