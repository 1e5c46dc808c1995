"""Frames and messages, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.picker import frames
from proxy.picker.errors import CallFailed, ConnectionViolated
from tests.proxy.picker.told import cut

FRAMES = st.tuples(
    st.integers(0, 255), st.integers(0, 255), st.integers(0, 2**31 - 1), st.binary(max_size=300)
)
SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=5)


@given(sent=st.lists(FRAMES, max_size=8), sizes=SIZES)
def test_frames_come_out_as_they_went_in_wherever_they_are_cut(
    sent: list[frames.Frame], sizes: list[int]
) -> None:
    came: list[frames.Frame] = []
    rest = b""

    for piece in cut(b"".join(frames.frame(*each) for each in sent), sizes):
        whole, rest = frames.split_frames(rest + piece)
        came += whole

    assert came == sent
    assert rest == b""


def test_a_frame_larger_than_allowed_ends_the_connection() -> None:
    with pytest.raises(ConnectionViolated) as raised:
        frames.split_frames(frames.frame(frames.DATA, 0, 1, b"x" * 16_385))

    assert raised.value.code == frames.FRAME_SIZE_ERROR


@given(sent=st.lists(st.binary(max_size=200), max_size=6), sizes=SIZES)
def test_messages_come_out_as_they_went_in_wherever_they_are_cut(
    sent: list[bytes], sizes: list[int]
) -> None:
    came: list[bytes] = []
    rest = b""

    for piece in cut(b"".join(map(frames.with_prefix, sent)), sizes):
        whole, rest = frames.split_messages(rest + piece, 1000)
        came += whole

    assert came == sent
    assert rest == b""


@pytest.mark.parametrize(
    ("data", "status"), [(b"\x01\x00\x00\x00\x00", 12), (b"\x00\x00\x00\x04\x00", 8)]
)
def test_a_compressed_or_oversized_message_fails_its_call(data: bytes, status: int) -> None:
    with pytest.raises(CallFailed) as raised:
        frames.split_messages(data, 1000)

    assert raised.value.status == status


@given(content=st.binary(max_size=50), padding=st.integers(0, 255), ranked=st.booleans())
def test_padding_and_priority_are_taken_off(content: bytes, padding: int, *, ranked: bool) -> None:
    rank = b"\0\0\0\0\x10" if ranked else b""
    payload = bytes([padding]) + rank + content + bytes(padding)
    flags = frames.PADDED | (frames.PRIORITIZED if ranked else 0)

    assert frames.unpadded(flags, payload) == content


@pytest.mark.parametrize("payload", [b"", b"\x05abc"])
def test_more_padding_than_payload_ends_the_connection(payload: bytes) -> None:
    with pytest.raises(ConnectionViolated):
        frames.unpadded(frames.PADDED, payload)


def test_half_a_setting_ends_the_connection() -> None:
    with pytest.raises(ConnectionViolated):
        frames.read_settings(b"\x00\x04\x00")
