"""Header blocks mean what a real encoder meant, remembered or not."""

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.picker import header_blocks
from proxy.picker.errors import ConnectionViolated
from proxy.picker.header_blocks import HeaderBlocks

PATHS = st.sampled_from(["/a", "/b", "/grpc.health.v1.Health/Check"])
OTHERS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=2)
BIG = {"big": "x" * 3000}  # two of them do not fit into the table together


@given(
    calls=st.lists(st.tuples(PATHS, OTHERS, st.sampled_from([{}, BIG])), max_size=20),
    huffman=st.booleans(),
)
def test_the_path_is_what_the_encoder_said(
    calls: list[tuple[str, list[str], dict[str, str]]], *, huffman: bool
) -> None:
    encoder, blocks = hpack.Encoder(), HeaderBlocks()

    for path, others, more in calls:
        headers = [(":method", "POST"), (":path", path), *((name, name) for name in others)]
        block = encoder.encode([*headers, *more.items()], huffman=huffman)
        assert blocks.path(block) == path


def test_a_block_that_repeats_is_remembered_until_the_table_changes() -> None:
    encoder, blocks = hpack.Encoder(), HeaderBlocks()
    headers = [(":method", "POST"), (":path", "/service/method"), ("te", "trailers")]
    for _ in range(2):  # after the first all is in the table
        blocks.path(encoder.encode(headers))
    settled = encoder.encode(headers)

    assert settled in blocks._known

    blocks.path(encoder.encode([(":path", "/another")]))
    assert settled not in blocks._known


@pytest.mark.parametrize("block", [b"\xff\xff\xff\xff\x0f", b"\x40", b"\x82\x3f\xe1\x1f"])
def test_a_block_that_cannot_be_decoded_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ConnectionViolated):
        HeaderBlocks().path(block)


def test_what_answers_begin_and_end_with_is_read_by_a_real_decoder() -> None:
    decoder = hpack.Decoder()

    head = decoder.decode(header_blocks.HEAD)
    good = decoder.decode(header_blocks.END_OK)
    bad = decoder.decode(header_blocks.trailers(13, "100% wrong: ünfug\n" + "x" * 500))

    assert [tuple(each) for each in head] == [
        (":status", "200"),
        ("content-type", "application/grpc"),
    ]
    assert [tuple(each) for each in good] == [("grpc-status", "0")]
    assert dict(bad)["grpc-status"] == "13"
    assert dict(bad)["grpc-message"].startswith("100? wrong: ?nfug?xxx")
