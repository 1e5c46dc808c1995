"""The response parser, cut at any byte and fed anything."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.errors import UpstreamBroken
from proxy.http_response import ResponseParser
from tests.fakes import LAST_CHUNK, chunk

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def feed(pieces: Sequence[bytes]) -> tuple[ResponseParser, bytes]:
    """Feed a response and give what it has."""
    parser = ResponseParser("http://e:1", max_head_bytes=65_536)
    body = b""
    for piece in pieces:
        if parser.complete:
            break
        body += parser.feed(piece)
    return parser, body


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

    parser, got = feed(pieces)

    assert parser.complete
    assert parser.reusable
    assert parser.head is not None
    assert parser.head.status == 201
    assert parser.head.headers[0] == (b"a", b"1")
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
        parser, body = feed(junk)
    except UpstreamBroken:
        return

    assert parser.head is None or 200 <= parser.head.status <= 999
    assert len(body) <= sum(map(len, junk))


SIZE_LINES = ("%x", "%X", "0%x", "%x;name=value")


@given(
    chunks=st.lists(
        st.tuples(st.binary(min_size=1, max_size=5000), st.sampled_from(SIZE_LINES)), max_size=6
    ),
    cut_within=st.booleans(),
)
@example(
    chunks=[(bytes(size), "%x") for size in (9, 10, 15, 16, 255, 256, 4095, 4096)], cut_within=False
)
def test_chunks_are_read_however_their_size_is_written(
    chunks: list[tuple[bytes, str]], cut_within: bool
) -> None:
    pieces = [HEAD]
    for data, line in chunks:
        wire = (line % len(data)).encode() + b"\r\n" + data + b"\r\n"
        pieces += [wire[:1], wire[1:]] if cut_within else [wire]

    parser, seen = feed([*pieces, LAST_CHUNK])

    assert seen == b"".join(data for data, _ in chunks)
    assert parser.complete
    assert parser.reusable


@pytest.mark.parametrize(
    "wrong", [b"4\r\nabc\r\n", b"2\r\nabc\r\n", b"-3\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3\nabc\n"]
)
def test_a_chunk_of_another_size_than_it_says_is_refused(wrong: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        feed([HEAD, chunk(b"first"), wrong, chunk(b"next"), LAST_CHUNK])


def test_a_chunk_after_the_end_is_none() -> None:
    parser, _ = feed([HEAD, chunk(b"all"), LAST_CHUNK])

    assert parser.reusable
    assert parser.feed(chunk(b"more")) == b""
    assert not parser.reusable
