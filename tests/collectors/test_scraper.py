import asyncio
import json

import httpx
import pytest

from collectors.errors import UnknownEndpoint
from collectors.page_reader import PageReader
from collectors.scraper import Scraper, open_scrape_client
from collectors.settings import EndpointSettings, ScrapeSettings
from predictor.types import EndpointState
from tests.collectors.scraping import CARDS, PAGE, Bench, Counts


def test_one_round_reads_numbers_and_names() -> None:
    bench = Bench()

    state = bench.poll()

    assert state.up
    assert (state.running_requests, state.waiting_requests) == (3.0, 0.0)
    assert (state.kv_cache_usage, state.scraped_s) == (None, 100.0)
    assert (state.model, state.adapters) == ("base", ("alias", "lora"))
    assert (state.root, state.max_model_len, state.version) == ("/models/base", 4096, "0.32.0")
    assert bench.told[-1] == (state,)
    assert bench.counts.pages == ["a:1"]


def test_the_first_look_is_over_once_every_endpoint_was_asked_even_in_vain() -> None:
    bench = Bench()
    bench.scraper.add(EndpointSettings(url="http://later:1"))
    before = bench.scraper.looked.is_set()
    bench.fake.answers["/metrics"] = httpx.ConnectError("refused")
    bench.poll()

    assert not before
    assert bench.scraper.looked.is_set()


def test_the_first_look_does_not_wait_for_an_endpoint_that_left() -> None:
    bench = Bench()

    bench.scraper.remove("a:1")

    assert bench.scraper.looked.is_set()


def test_what_another_scraper_knows_is_a_first_look() -> None:
    bench, other = Bench(), Bench()
    bench.scraper.adopt([other.poll()])

    assert bench.scraper.looked.is_set()


def test_names_are_asked_once_until_they_are_old() -> None:
    bench = Bench(models_interval_s=30.0)

    bench.poll(rounds=3)
    bench.now += 30.0
    bench.poll()

    assert bench.fake.asked.count("/v1/models") == 2
    assert "/health" not in bench.fake.asked


def test_dead_endpoint_is_stale_then_down_then_up_again() -> None:
    bench = Bench(fail_after=2)
    bench.poll()
    alive = bench.fake.answers
    bench.fake.die()

    stale = bench.poll()
    down = bench.poll()
    bench.fake.answers = alive
    up = bench.poll()

    assert (stale.up, stale.running_requests) == (True, 3.0)
    assert not down.up
    assert up.up
    assert bench.counts.failures == [("a:1", "refused")] * 2


def test_refused_metrics_with_good_health_is_up_without_numbers() -> None:
    bench = Bench(fail_after=1)
    bench.fake.answers["/metrics"] = (404, b"")

    state = bench.poll()

    assert (state.up, state.running_requests, state.model) == (True, None, "base")
    assert bench.counts.failures == [("a:1", "status")]


@pytest.mark.parametrize(
    "health",
    [
        (500, b""),
        (200, b"x" * 2000),
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("garbage"),
    ],
)
def test_refused_metrics_without_good_health_is_down(health: tuple[int, bytes] | Exception) -> None:
    bench = Bench(max_page_bytes=1024, fail_after=1)
    bench.fake.answers["/metrics"] = (500, b"")
    bench.fake.answers["/health"] = health

    state = bench.poll()

    assert not state.up
    assert bench.counts.failures == [("a:1", "status")]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"data":[{"id":7}]}',
        b"\xff",
        b'{"data":[{"id":"\xff"}]}',
        b'{"data":' + b"[" * 5000,
    ],
)
def test_nonsense_names_leave_the_model_unknown_and_are_asked_again_later(body: bytes) -> None:
    bench = Bench()
    bench.fake.answers["/v1/models"] = (200, body)

    state = bench.poll(rounds=2)
    asked_at_once = bench.fake.asked.count("/v1/models")
    bench.now += 1.0
    bench.poll()

    assert (state.up, state.model) == (True, None)
    assert asked_at_once == 1
    assert bench.fake.asked.count("/v1/models") == 2


def test_loop_polls_at_the_interval_and_slower_while_down() -> None:
    bench = Bench(interval_s=0.25, down_interval_s=1.5, fail_after=1)

    bench.run_until(lambda: len(bench.counts.pages) >= 3)
    up_slept = bench.slept[:2]
    bench.fake.die()
    bench.run_until(lambda: len(bench.counts.failures) >= 3)

    assert up_slept == [0.25, 0.25]
    assert bench.slept[-1] == 1.5


def test_four_endpoints_are_read_in_step_and_others_apart() -> None:
    bench = Bench(interval_s=0.01)
    for port in range(2, 6):
        bench.scraper.add(EndpointSettings(url=f"http://a:{port}"))

    bench.run_until(lambda: len(bench.waits) > 1)

    together, apart = sorted(bench.waits)
    assert together == (0.01, 0.0, 0.005)
    assert apart == (0.01, pytest.approx(0.00618034), 0.005)
    assert bench.counts.pages[:4] == ["a:1", "a:2", "a:3", "a:4"]


def test_endpoint_down_at_start_is_picked_up_when_it_comes() -> None:
    bench = Bench()
    alive = bench.fake.answers
    bench.fake.die()

    bench.run_until(lambda: len(bench.counts.failures) >= 5)
    down = bench.scraper.states[0].up
    bench.fake.answers = alive
    bench.run_until(lambda: bench.scraper.states[0].up)

    assert not down


def test_bug_in_a_listener_does_not_stop_the_scraping(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench()

    def broken(states: tuple[EndpointState, ...]) -> None:
        if states[0].up:
            raise ZeroDivisionError

    bench.on_states = broken
    bench.run_until(lambda: bench.counts.failures.count(("a:1", "crashed")) >= 2)

    assert "scrape_crashed" in caplog.text


def test_endpoints_come_and_go_while_running() -> None:
    bench = Bench()

    bench.run_until(
        lambda: len(bench.counts.pages) >= 1,
        lambda: bench.scraper.add(EndpointSettings(url="http://b:2", hardware="l4")),
        lambda: bench.scraper.remove("a:1"),
        lambda: bench.scraper.remove("never"),
    )

    assert [state.endpoint for state in bench.told[-1]] == ["b:2"]
    assert bench.told[-1][0].hardware == "l4"
    assert bench.pages.forgotten == ["http://a:1"]
    assert bench.pages.closed == 1


def test_an_endpoint_that_only_gets_another_label_stays_up() -> None:
    bench = Bench()

    bench.run_until(
        lambda: bool(bench.told) and bench.told[-1][0].up,
        lambda: bench.scraper.add(EndpointSettings(url="http://a:1", hardware="l4")),
    )

    (state,) = bench.scraper.states
    assert (state.up, state.hardware) == (True, "l4")
    assert all(told[0].up for told in bench.told[-2:])


def test_listener_may_remove_the_endpoint_it_is_told_of() -> None:
    bench = Bench()
    bench.scraper.add(EndpointSettings(url="http://b:2"))

    def remove_when_up(states: tuple[EndpointState, ...]) -> None:
        if any(state.endpoint == "a:1" and state.up for state in states):
            bench.scraper.remove("a:1")

    bench.on_states = remove_when_up
    bench.run_until(lambda: bench.counts.pages.count("b:2") >= 5)

    assert [state.endpoint for state in bench.scraper.states] == ["b:2"]
    assert bench.counts.pages.count("a:1") == 1


def test_drain_is_told_at_once_and_can_be_undone() -> None:
    bench = Bench()

    bench.scraper.drain("a:1")
    bench.scraper.resume("a:1")

    assert [states[0].draining for states in bench.told] == [True, False]
    with pytest.raises(UnknownEndpoint):
        bench.scraper.drain("never")


def test_client_reads_a_real_socket() -> None:
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                body = PAGE if head.startswith(b"GET /metrics") else json.dumps(CARDS).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        except asyncio.IncompleteReadError:
            ended.set()
        finally:
            writer.close()

    async def main() -> EndpointState:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = ScrapeSettings()
        pages = PageReader(settings)
        async with server, open_scrape_client(settings) as client:
            scraper = Scraper(
                [EndpointSettings(url=f"http://127.0.0.1:{port}")],
                settings,
                client=client,
                pages=pages,
                clock=lambda: 1.0,
                on_states=lambda states: None,
                counts=Counts(),
            )
            await scraper.poll(f"127.0.0.1:{port}")
            pages.close()
            await client.aclose()
            await ended.wait()
            return scraper.states[0]

    state = asyncio.run(main())

    assert (state.up, state.running_requests, state.model) == (True, 3.0, "base")


@pytest.mark.parametrize("answer", [(404, b""), (200, b"0.32"), httpx.ReadTimeout("slow")])
def test_a_server_that_does_not_tell_its_version_is_up_all_the_same(
    answer: tuple[int, bytes] | Exception,
) -> None:
    bench = Bench()
    bench.fake.answers["/version"] = answer

    state = bench.poll()

    assert (state.up, state.model, state.version) == (True, "base", None)
