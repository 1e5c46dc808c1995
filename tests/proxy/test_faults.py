"""Faults of our own on the data path: each ends one request, and no other."""

import asyncio

import httpx
import pytest

from predictor.types import RequestRecord
from proxy import ADMITTED, Admission, Passed, Reply, ReplyHead, RequestHead, Serving
from proxy.errors import ErrorResponse
from proxy.flight import Flight
from proxy.headers import HeaderMap
from proxy.incoming import IncomingRequest, read_request
from proxy.sharing import Following
from scheduler import SchedulerSettings
from tests.fakes import FakeEndpoint
from tests.proxy.harness import CHAT, running_proxy, state_of
from tests.proxy.raw import BODY

pytestmark = pytest.mark.anyio


class Broken(Exception):
    """Stand for any fault."""


class NoTokens:
    """Fail at every prompt."""

    async def of(self, path: str, payload: bytes) -> bytes | None:
        raise Broken


def broken_sink(record: RequestRecord) -> None:
    raise Broken


async def test_a_fault_before_the_placing_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeEndpoint() as endpoint:
        state = state_of(endpoint, block_size=16, kv_capacity_tokens=10_000)
        async with running_proxy(endpoint, states=[state], tokens=NoTokens()) as proxy:
            proxy.scheduler.caches.begin(endpoint.name, whole=True)
            proxy.scheduler.caches.resize(state, block_tokens=64.0)
            assert proxy.scheduler.caches.speak

            got = await proxy.client.post(CHAT, json=BODY)

            assert got.status_code == 500
            assert got.json()["error"]["message"] == "the router failed"
            assert proxy.scheduler.inflight_requests == 0
            assert "placing_failed" in caplog.messages


async def test_a_sink_that_raises_keeps_no_record_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, sinks=[broken_sink]) as proxy:
        answers = [await proxy.client.post(CHAT, json=BODY) for _ in range(2)]

        assert [got.status_code for got in answers] == [200, 200]
        assert len(proxy.records) == 2
        assert "sink_failed" in caplog.messages


class BrokenHost:
    """Be a data path that can place nothing."""

    def place(self, passed: Passed, reply: Reply, headers: HeaderMap) -> Serving | None:
        raise Broken

    def reserve(self, request_id: str) -> None:
        pass

    def release(self, request_id: str) -> None:
        pass

    def deserted(self, request_id: str) -> None:
        pass


def incoming() -> IncomingRequest:
    head = RequestHead(method=b"POST", target=CHAT.encode(), path=CHAT, lines=[], named={})
    body = b'{"model":"m","messages":[]}'
    return read_request(head, body, request_id="r", arrived_s=0.0, include_usage=True)


def test_a_follower_that_nobody_can_place_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    sent: list[bytes] = []
    reply = Reply(sent.append, lambda _: None, http_1_1=True, head_only=False, keep=True)
    records: list[RequestRecord] = []
    following = Following(
        Passed(request=incoming(), tap=None),
        reply,
        {},
        host=BrokenHost(),
        clock=lambda: 1.0,
        on_record=records.append,
        fleet="m",
    )
    flight = Flight(b"key", 1000)
    assert following.start(flight)

    flight.finish("failed")

    assert b"".join(sent).startswith(b"HTTP/1.1 500 ")
    assert reply.ended
    assert "following_failed" in caplog.messages


class BreakingTap:
    """Raise when the head of an answer comes, and at its end."""

    lines = b""
    wanted = False

    def started(self, head: ReplyHead) -> None:
        raise Broken

    def passed(self, data: bytes) -> None:
        raise Broken

    def ended(self, *, whole: bool) -> None:
        raise Broken


class BreakingMidway(BreakingTap):
    """Raise at a piece of the body."""

    def started(self, head: ReplyHead) -> None:
        pass

    def ended(self, *, whole: bool) -> None:
        pass


class Tapping:
    """Let all pass; tap the first."""

    def __init__(self, tap: BreakingTap | None = None) -> None:
        self._taps = [tap or BreakingTap()]

    def admit(self, head: RequestHead) -> Admission | ErrorResponse:
        return ADMITTED

    def consider(
        self, head: RequestHead, request: IncomingRequest, reply: Reply
    ) -> Passed | ErrorResponse | Serving:
        return Passed(request=request, tap=self._taps.pop() if self._taps else None)


async def test_of_those_that_waited_one_that_fails_keeps_no_other_from_being_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scheduling = SchedulerSettings(max_wait_s=0)
    async with FakeEndpoint() as endpoint:
        states = [state_of(endpoint, up=False)]
        running = running_proxy(endpoint, states=states, scheduling=scheduling, gate=Tapping())
        async with running as proxy:
            calls = [asyncio.ensure_future(proxy.client.post(CHAT, json=BODY)) for _ in range(2)]
            answers = await asyncio.gather(*calls)

            assert sorted(got.status_code for got in answers) == [500, 503]
            assert proxy.scheduler.waiting_requests == 0
            assert proxy.relay.live_requests == 0
            assert "delivery_failed" in caplog.messages


async def test_an_answer_that_a_fault_of_ours_breaks_off_is_no_complete_one() -> None:
    async with (
        FakeEndpoint() as endpoint,
        running_proxy(endpoint, gate=Tapping(BreakingMidway())) as proxy,
    ):
        with pytest.raises(httpx.RemoteProtocolError):
            await proxy.client.post(CHAT, json=BODY)

        assert proxy.records[0].measurement.outcome == "cut"
        assert proxy.scheduler.inflight_requests == 0
