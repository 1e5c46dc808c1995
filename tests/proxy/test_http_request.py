"""The request parser: cut at any byte, fed anything, and what smugglers try."""

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import BadRequest, BodyTooLarge, HeadTooLarge
from proxy.http_request import Request, RequestParser
from tests.fakes import LAST_CHUNK, chunk

HOST = b"Host: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

SMUGGLED = {
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\nab",
    "a signed length": POST + b"Content-Length: +2\r\n\r\nab",
    "a negative length": POST + b"Content-Length: -2\r\n\r\nab",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "a length past 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n",
    "length, then chunked": POST
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
    + LAST_CHUNK,
    "chunked, then length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n"
    + LAST_CHUNK,
    "chunked twice": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
    + LAST_CHUNK,
    "chunked, then identity": POST
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    + LAST_CHUNK,
    "an unknown coding": POST + b"Transfer-Encoding: gzip\r\n\r\nabc",
    "another coding inside": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + LAST_CHUNK,
    "chunked is not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + LAST_CHUNK,
    "almost chunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + LAST_CHUNK,
    "a hidden coding": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + LAST_CHUNK,
    "chunked in HTTP/1.0": b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + LAST_CHUNK,
    "space before the colon": POST + b"Content-Length : 2\r\n\r\nab",
    "bare LF after the start": b"POST / HTTP/1.1\n" + HOST + b"\r\n",
    "bare LF after a header": POST + b"a: b\nc: d\r\n\r\n",
    "bare LF at the end": POST + b"\n",
    "bare CR in a value": POST + b"a: b\rc: d\r\n\r\n",
    "bare CR at the end": POST + b"\r\rX",
    "obs-fold": POST + b"a: b\r\n c\r\n\r\n",
    "fold before any header": b"POST / HTTP/1.1\r\n a: b\r\n" + HOST + b"\r\n",
    "NUL in a value": POST + b"a: b\x00c\r\n\r\n",
    "NUL in a name": POST + b"a\x00: b\r\n\r\n",
    "a control character": POST + b"a: b\x01c\r\n\r\n",
    "no name": POST + b": b\r\n\r\n",
    "no colon": POST + b"ab\r\n\r\n",
    "a space in a name": POST + b"a b: c\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT x:1 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a target of no ASCII": b"GET /\xe9 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a relative target": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "another scheme": b"GET ftp://x/a HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "a chunk size that is none": CHUNKED + b"zz\r\n\r\n",
    "a prefixed chunk size": CHUNKED + b"0x2\r\nab\r\n" + LAST_CHUNK,
    "a signed chunk size": CHUNKED + b"+2\r\nab\r\n" + LAST_CHUNK,
    "a chunk size past 64 bits": CHUNKED + b"fffffffffffffffff\r\n",
    "space after the chunk size": CHUNKED + b"2 \r\nab\r\n" + LAST_CHUNK,
    "bare LF after the chunk size": CHUNKED + b"2\nab\r\n" + LAST_CHUNK,
    "bare LF in a chunk extension": CHUNKED + b"2;a\nb\r\nab\r\n" + LAST_CHUNK,
    "a chunk longer than it says": CHUNKED + b"2\r\nabc\r\n" + LAST_CHUNK,
    "bare LF after a chunk": CHUNKED + b"2\r\nab\n" + LAST_CHUNK,
    "a length among the trailers": CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
    "an upgrade with chunks": POST
    + b"Connection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
    + LAST_CHUNK,
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
}

PIECES = [
    POST,
    HOST,
    CHUNKED,
    LAST_CHUNK,
    b"\r\n",
    b"\r\n\r\n",
    b"2\r\nab\r\n",
    b"Content-Length: 3\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
]


def parser(**limits: int) -> RequestParser:
    usual = {"max_head_bytes": 4096, "max_headers": 50, "max_body_bytes": 10_000}
    return RequestParser(**(usual | limits))


def feed(wire: bytes, cuts: list[int]) -> tuple[list[Request], RequestParser]:
    """Feed bytes in pieces."""
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    reading, requests = parser(), []
    for start, end in itertools.pairwise(edges):
        requests += reading.feed(wire[start:end])
    return requests, reading


@pytest.mark.parametrize("wire", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_what_two_servers_might_read_in_two_ways_is_refused(wire: bytes) -> None:
    whole, reading = feed(wire, [])
    bytewise, later = feed(wire, list(range(len(wire))))

    assert whole == bytewise == []
    assert isinstance(reading.refusal, BadRequest)
    assert isinstance(later.refusal, BadRequest)


@pytest.mark.parametrize("wire", SMUGGLED.values(), ids=SMUGGLED.keys())
def test_nothing_is_read_after_a_refusal(wire: bytes) -> None:
    reading = parser()
    reading.feed(wire)

    assert reading.feed(b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") == []


@given(
    bodies=st.lists(st.binary(max_size=60), min_size=1, max_size=4),
    chunked=st.booleans(),
    cuts=st.lists(st.integers(0, 1500), max_size=12),
)
def test_requests_are_the_same_wherever_they_are_cut(
    bodies: list[bytes], chunked: bool, cuts: list[int]
) -> None:
    wire = b""
    for body in bodies:
        if chunked:
            pieces = [body[start : start + 7] for start in range(0, len(body), 7)]
            wire += CHUNKED + b"".join(map(chunk, pieces)) + b"0\r\nx-trailer: 1\r\n\r\n"
        else:
            wire += POST + b"X-A: b\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    requests, reading = feed(wire, cuts)

    assert reading.refusal is None
    assert [request.body for request in requests] == bodies
    assert {request.head.target for request in requests} == {b"/v1/chat/completions"}
    assert all(b"x-trailer" not in request.head.named for request in requests)
    assert not reading.begun


@given(
    junk=st.lists(
        st.binary(max_size=30) | st.sampled_from(PIECES),
        max_size=12,
    ),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
@example(junk=[POST, b"Connection: upgrade\r\nUpgrade: x\r\n", b"\r\n", POST], cuts=[])
def test_any_bytes_are_requests_or_refused_and_cuts_change_nothing(
    junk: list[bytes], cuts: list[int]
) -> None:
    wire = b"".join(junk)

    whole, reading = feed(wire, [])
    cut, later = feed(wire, cuts)

    assert [(request.head.target, request.body) for request in whole] == [
        (request.head.target, request.body) for request in cut
    ]
    assert (reading.refusal is None) == (later.refusal is None)


@pytest.mark.parametrize(
    ("wire", "target", "path"),
    [
        (b"GET /v1/x%20y?a=%20&b HTTP/1.1\r\n", b"/v1/x%20y?a=%20&b", "/v1/x y"),
        (b"GET http://h:1/p?q HTTP/1.1\r\n", b"/p?q", "/p"),
        (b"GET http://h?q HTTP/1.1\r\n", b"/?q", "/"),
        (b"GET HTTPS://h HTTP/1.1\r\n", b"/", "/"),
        (b"OPTIONS * HTTP/1.1\r\n", b"*", "*"),
    ],
)
def test_targets_of_every_form_are_read(wire: bytes, target: bytes, path: str) -> None:
    (request,) = parser().feed(wire + HOST + b"\r\n")

    assert (request.head.target, request.head.path) == (target, path)


@pytest.mark.parametrize("cuts", [[], list(range(200))])
def test_an_offer_to_upgrade_is_ignored_and_its_body_read(cuts: list[int]) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab"

    requests, reading = feed(POST + upgrade + POST + b"\r\n", cuts)

    assert [request.body for request in requests] == [b"ab", b""]
    assert reading.refusal is None


def test_what_follows_the_last_request_is_not_read() -> None:
    last = POST + b"Connection: close\r\n\r\n"

    requests, reading = feed(last + POST + b"\r\n", [])

    assert [request.head.keep_alive for request in requests] == [False]
    assert reading.refusal is None


def test_the_requests_before_a_bad_one_are_given() -> None:
    requests, reading = feed(POST + b"\r\n" + SMUGGLED["two lengths"], [])

    assert len(requests) == 1
    assert isinstance(reading.refusal, BadRequest)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(POST + b"a: " + b"b" * 5000 + b"\r\n\r\n", id="a long value"),
        pytest.param(POST + b"a: " + b"b" * 5000, id="an endless value"),
        pytest.param(b"GET /" + b"b" * 5000, id="an endless target"),
        pytest.param(POST + b"a: b\r\n" * 51 + b"\r\n", id="too many lines"),
        pytest.param(CHUNKED + b"0\r\n" + b"a: b\r\n" * 60, id="too many trailers"),
    ],
)
def test_a_head_beyond_its_limits_is_refused(wire: bytes) -> None:
    assert isinstance(feed(wire, [])[1].refusal, HeadTooLarge)
    assert isinstance(feed(wire, list(range(0, len(wire), 50)))[1].refusal, HeadTooLarge)


@pytest.mark.parametrize(
    "begin",
    [pytest.param(b"0\r\na: ", id="trailer"), pytest.param(b"1;", id="chunk extension")],
)
def test_framing_without_end_is_refused_within_a_few_reads(begin: bytes) -> None:
    wire = CHUNKED + begin + b"b" * 9000

    assert isinstance(feed(wire, list(range(0, len(wire), 1000)))[1].refusal, HeadTooLarge)


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(POST + b"Content-Length: 10001\r\n\r\n", id="announced"),
        pytest.param(CHUNKED + chunk(b"a" * 6000) * 2, id="chunked"),
    ],
)
def test_a_body_beyond_its_limit_is_refused_before_it_is_there(wire: bytes) -> None:
    assert isinstance(feed(wire, [])[1].refusal, BodyTooLarge)


def test_a_large_body_in_small_pieces_is_not_taken_for_a_large_head() -> None:
    wire = POST + b"Content-Length: 9000\r\n\r\n" + b"a" * 9000 + POST + b"\r\n"

    requests, reading = feed(wire, list(range(0, len(wire), 100)))

    assert [len(request.body) for request in requests] == [9000, 0]
    assert reading.refusal is None


def test_a_head_is_bounded_though_another_request_came_in_the_same_read() -> None:
    small = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    large = b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"b" * 50_000 + b"\r\n\r\n"
    parser = RequestParser(max_head_bytes=999, max_headers=9, max_body_bytes=99)

    ready = parser.feed(small + large + small)

    assert len(ready) == 1
    assert isinstance(parser.refusal, HeadTooLarge)
