"""Published batches in both encodings vLLM has used."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.errors import KvEventsUnreadable
from collectors.kv_events import decode_batch
from collectors.kv_events.decoding import packed
from predictor.kv_cache import BlocksCleared, BlocksRemoved, BlocksStored

FIELDS: dict[str, Any] = {
    "block_hashes": [1763653063469563733, 17358522204793985516],
    "parent_block_hash": None,
    "token_ids": [483, 1154, 18, 28],
    "block_size": 2,
    "lora_id": None,
    "medium": "GPU",
    "lora_name": None,
    "extra_keys": [None, None],
    "group_idx": 0,
    "kv_cache_spec_kind": "full_attention",
}


def batch(*events: object) -> bytes:
    return msgspec.msgpack.encode([12.5, list(events), 0])


def stored(**fields: object) -> BlocksStored:
    _, (event,) = decode_batch(batch({"type": "BlockStored", **FIELDS, **fields}))
    assert isinstance(event, BlocksStored)
    return event


@pytest.mark.parametrize("encoding", ["maps", "arrays"])
def test_both_encodings_say_the_same(encoding: str) -> None:
    removed = {"block_hashes": [7], "medium": "CPU", "group_idx": 1}
    events: list[object]
    if encoding == "maps":
        events = [
            {"type": "BlockStored", **FIELDS, "session_id": "unknown to us"},
            {"type": "BlockRemoved", **removed},
            {"type": "AllBlocksCleared"},
        ]
    else:
        events = [
            ["BlockStored", *FIELDS.values()],
            ["BlockRemoved", *removed.values()],
            ["AllBlocksCleared"],
        ]

    ts, found = decode_batch(batch(*events))

    assert ts == 12.5
    assert found == [
        BlocksStored(
            hashes=FIELDS["block_hashes"],
            parent=None,
            tokens=packed(FIELDS["token_ids"]),
            block_tokens=2,
        ),
        BlocksRemoved(hashes=[7], tier=1, group=1),
        BlocksCleared(),
    ]


def test_the_first_array_encoding_had_no_more_than_the_adapter() -> None:
    _, (event,) = decode_batch(batch(["BlockStored", [1], None, [5, 6], 2, 3]))

    assert isinstance(event, BlocksStored)
    assert event.adapter == "\x003"  # by number: a name nobody asks for
    assert event.tier == 0


def test_names_of_blocks_may_be_bytes() -> None:
    event = stored(block_hashes=[b"a" * 32, b"b" * 32], parent_block_hash=b"c" * 32)

    assert event.hashes == [b"a" * 32, b"b" * 32]
    assert event.parent == b"c" * 32


def test_extra_keys_are_told_apart() -> None:
    salted = stored(extra_keys=[["tenant-A"], None])
    adapted = stored(lora_name="lora", extra_keys=[["lora", "tenant-A"], ["lora"]])
    image = stored(extra_keys=[None, [["image-1", 3]]])
    later = stored(parent_block_hash=9, extra_keys=[["digest"], None])

    assert (salted.salt, dict(salted.marks)) == ("tenant-A", {})
    assert (adapted.adapter, adapted.salt, dict(adapted.marks)) == ("lora", "tenant-A", {})
    assert (image.salt, list(image.marks)) == (None, [1])
    assert (later.salt, list(later.marks)) == (None, [0])


@pytest.mark.parametrize(
    ("kind", "window", "expected"),
    [
        ("full_attention", None, (None, True)),
        ("mla_attention", None, (None, True)),
        ("sliding_window", 128, (128, True)),
        ("sliding_window", None, (None, False)),
        ("mamba", None, (None, False)),
        ("a_kind_of_tomorrow", None, (None, False)),
    ],
)
def test_kinds_of_layers(kind: str, window: int | None, expected: tuple[int | None, bool]) -> None:
    event = stored(kv_cache_spec_kind=kind, kv_cache_spec_sliding_window=window)

    assert (event.window_tokens, event.prefix) == expected


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([1.0, [{"type": "Unheard"}]]),
        batch({"type": "BlockStored", **FIELDS, "token_ids": [-1]}),
        batch({"type": "BlockStored", **FIELDS, "block_size": 0}),
    ],
)
def test_what_is_no_batch_is_refused(payload: bytes) -> None:
    with pytest.raises(KvEventsUnreadable):
        decode_batch(payload)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_batch_or_refused(payload: bytes) -> None:
    with contextlib.suppress(KvEventsUnreadable):
        decode_batch(payload)
