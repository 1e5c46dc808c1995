"""The response parser, cut at any byte and fed anything."""

import asyncio
import itertools
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from proxy.connection import Connection, UpstreamResponse
from proxy.errors import UpstreamBroken
from proxy.settings import UpstreamSettings
from tests.fakes import LAST_CHUNK, chunk


def nothing(connection: Connection) -> None:
    """Take no notice."""


async def feed(pieces: Sequence[bytes]) -> tuple[UpstreamResponse, bytes]:
    """Feed a response and read what it has, without a socket."""
    connection = Connection("http://e:1", UpstreamSettings(), on_free=nothing, on_closed=nothing)
    response = UpstreamResponse(connection, head_only=False)
    for piece in pieces:
        if response.complete:
            break
        response.feed(piece)
    body = await response.read() if response.buffered_bytes or response.complete else b""
    return response, body


@given(
    parts=st.lists(st.binary(min_size=1, max_size=50), max_size=6),
    chunked=st.booleans(),
    informational=st.booleans(),
    cuts=st.lists(st.integers(0, 500), max_size=8),
)
def test_a_response_is_the_same_wherever_it_is_cut(
    parts: list[bytes], chunked: bool, informational: bool, cuts: list[int]
) -> None:
    body = b"".join(parts)
    wire = b"HTTP/1.1 100 Continue\r\n\r\n" if informational else b""
    if chunked:
        wire += b"HTTP/1.1 201 X\r\nA: 1\r\ntransfer-encoding: chunked\r\n\r\n"
        wire += b"".join(map(chunk, parts)) + LAST_CHUNK
    else:
        wire += b"HTTP/1.1 201 X\r\nA: 1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    edges = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]

    response, got = asyncio.run(feed(pieces))

    assert response.complete
    assert response.status == 201
    assert response.headers[0] == (b"a", b"1")
    assert got == body


@given(
    junk=st.lists(
        st.binary(max_size=40)
        | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"\r\n", b"content-length: 3\r\n", b"a: b\r\n"]),
        max_size=10,
    )
)
def test_any_bytes_are_a_response_or_refused(junk: list[bytes]) -> None:
    try:
        response, body = asyncio.run(feed(junk))
    except UpstreamBroken:
        return

    assert response.status == 0 or 200 <= response.status <= 999
    assert len(body) <= sum(map(len, junk))
