"""What stands before the decision: refusals before the body, changes, taps, own answers."""

import asyncio

import pytest

from predictor.values import replace
from proxy import Admission, Passed, Reply, ReplyHead, RequestHead, Serving
from proxy.errors import ErrorResponse
from proxy.incoming import IncomingRequest
from tests.fakes import HOLD, STREAM_HEAD, FakeEndpoint, event
from tests.proxy.harness import CHAT, running_proxy
from tests.proxy.raw import BODY, STREAM, STREAMED, raw_chat, raw_exchange

pytestmark = pytest.mark.anyio

NO = ErrorResponse(status=401, message="no", type="invalid_request_error", code="no_key")


class Tape:
    """Keep what a tap sees."""

    lines = b""

    def __init__(self, *, wanted: bool = False) -> None:
        self.wanted = wanted
        self.head: ReplyHead | None = None
        self.body = b""
        self.whole: bool | None = None
        self.over = asyncio.Event()

    def started(self, head: ReplyHead) -> None:
        self.head = head

    def passed(self, data: bytes) -> None:
        self.body += data

    def ended(self, *, whole: bool) -> None:
        self.whole = whole
        self.over.set()


class Doorman:
    """Refuse whoever has no key, change and record the rest."""

    def __init__(self, tape: Tape | None = None) -> None:
        self.tape = tape

    def admit(self, head: RequestHead) -> Admission | ErrorResponse:
        if head.named.get(b"authorization") != b"Bearer k":
            return NO
        return Admission(tenant="ann", dropped=frozenset({b"authorization"}))

    def consider(
        self,
        head: RequestHead,
        request: IncomingRequest,
        reply: Reply,
    ) -> Passed | ErrorResponse | Serving:
        outgoing = replace(request.outgoing, body=b'{"model":"m","a":1}')
        return Passed(request=replace(request, outgoing=outgoing), tap=self.tape)


class Answering(Doorman):
    """Answer everything by itself."""

    def consider(
        self,
        head: RequestHead,
        request: IncomingRequest,
        reply: Reply,
    ) -> Passed | ErrorResponse | Serving:
        reply.answer(ReplyHead(200, b"x-foretoken-cache: hit\r\n", 2), b"{}")
        return self  # type: ignore[return-value]  # nothing is asked of it: the reply has ended


async def test_a_request_is_refused_before_its_body_comes() -> None:
    request = raw_chat(BODY, b"expect: 100-continue").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, gate=Doorman()) as proxy:
        got = await raw_exchange(proxy, request)

        assert got.startswith(b"HTTP/1.1 401 ")
        assert b'"code":"no_key"' in got
        assert endpoint.seen == []


async def test_who_asks_is_the_tenant_and_the_key_stays_here() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, gate=Doorman()) as proxy:
        got = await proxy.client.post(CHAT, json=BODY, headers={"authorization": "Bearer k"})

        assert got.status_code == 200
        assert proxy.records[0].request.tenant == "ann"
        assert endpoint.seen[0].header("authorization") is None


async def test_a_changed_body_goes_out_with_its_length() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, gate=Doorman()) as proxy:
        await proxy.client.post(CHAT, json=BODY, headers={"authorization": "Bearer k"})

        assert endpoint.seen[0].body == b'{"model":"m","a":1}'


async def test_a_tap_sees_what_the_client_gets() -> None:
    tape = Tape()
    async with (
        FakeEndpoint(STREAM) as endpoint,
        running_proxy(endpoint, gate=Doorman(tape)) as proxy,
    ):
        headers = {"authorization": "Bearer k"}
        got = await proxy.client.post(CHAT, json=STREAMED, headers=headers)

        assert tape.body == got.content
        assert tape.head is not None
        assert tape.head.status == 200
        assert tape.whole is True


async def test_a_response_somebody_else_wants_goes_on_when_its_client_has_gone() -> None:
    tape, go = Tape(wanted=True), asyncio.Event()
    script = [STREAM_HEAD, event("a"), go, *STREAM[2:]]
    async with (
        FakeEndpoint(script) as endpoint,
        running_proxy(endpoint, gate=Doorman(tape)) as proxy,
    ):
        reader, writer = await proxy.connect()
        writer.write(raw_chat(STREAMED, b"authorization: Bearer k"))
        await reader.readuntil(b'"a"')
        writer.close()
        await writer.wait_closed()
        go.set()

        await tape.over.wait()

        assert tape.whole is True
        assert b"[DONE]" in tape.body
        assert proxy.records[0].measurement.outcome == "completed"


async def test_a_tap_hears_that_its_client_has_gone() -> None:
    tape = Tape()
    async with (
        FakeEndpoint([HOLD]) as endpoint,
        running_proxy(endpoint, gate=Doorman(tape)) as proxy,
    ):
        _, writer = await proxy.connect()
        writer.write(raw_chat(BODY, b"authorization: Bearer k"))
        await endpoint.arrived.wait()
        writer.close()

        await tape.over.wait()

        assert tape.whole is False


async def test_an_answer_of_the_gate_routes_and_records_nothing() -> None:
    async with FakeEndpoint() as endpoint, running_proxy(endpoint, gate=Answering()) as proxy:
        got = await proxy.client.post(CHAT, json=BODY, headers={"authorization": "Bearer k"})

        assert got.headers["x-foretoken-cache"] == "hit"
        assert endpoint.seen == []
        assert proxy.records == []
