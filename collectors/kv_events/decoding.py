"""Turn a published batch into vocabulary events.

Understands both encodings vLLM has used: events as maps (0.32) and as arrays (before).
Fields it does not know are skipped. Called by the subscriber.

Source: vLLM 0.32 ``distributed/kv_events.py``.
"""

from array import array
from sys import byteorder
from typing import Annotated, Any, Final

import msgspec

from collectors.errors import KvEventsUnreadable
from predictor.kv_cache import BlockHash, BlocksCleared, BlocksRemoved, BlocksStored, KvEvent

_Token = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]

_TIERS: Final = {None: 0, "GPU": 0, "CPU": 1}  # anything else is further away still
_STORAGE: Final = 2
_WHOLE: Final = frozenset({None, "full_attention", "mla_attention", "sink_full_attention"})
_WINDOWS: Final = frozenset({"sliding_window", "sliding_window_mla"})


class _Stored(msgspec.Struct, tag="BlockStored"):
    block_hashes: list[BlockHash]
    parent_block_hash: BlockHash | None
    token_ids: list[_Token]
    block_size: _Size
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[list[Any] | None] | None = None  # Any: engines put what they like there
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None


class _Removed(msgspec.Struct, tag="BlockRemoved"):
    block_hashes: list[BlockHash]
    medium: str | None = None
    group_idx: int | None = None


class _Cleared(msgspec.Struct, tag="AllBlocksCleared"):
    pass


class _StoredArray(_Stored, tag="BlockStored", array_like=True):
    pass


class _RemovedArray(_Removed, tag="BlockRemoved", array_like=True):
    pass


class _ClearedArray(_Cleared, tag="AllBlocksCleared", array_like=True):
    pass


class _Maps(msgspec.Struct, array_like=True):
    ts: float
    events: list[_Stored | _Removed | _Cleared]


class _Arrays(msgspec.Struct, array_like=True):
    ts: float
    events: list[_StoredArray | _RemovedArray | _ClearedArray]


_decode_maps: Final = msgspec.msgpack.Decoder(_Maps).decode
_decode_arrays: Final = msgspec.msgpack.Decoder(_Arrays).decode
_encode: Final = msgspec.msgpack.Encoder().encode


def decode_batch(payload: bytes) -> tuple[float, list[KvEvent]]:
    """Decode one batch.

    Returns:
        When the engine made it, by its clock, and what it announces.

    Raises:
        KvEventsUnreadable: It is in no encoding known.

    >>> decode_batch(msgspec.msgpack.encode([1.5, [{"type": "AllBlocksCleared"}], 0]))
    (1.5, [BlocksCleared()])
    """
    batch: _Maps | _Arrays
    try:
        batch = _decode_maps(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError) as as_maps:
        try:
            batch = _decode_arrays(payload)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise KvEventsUnreadable(str(as_maps)) from as_maps
    return batch.ts, [_event(event) for event in batch.events]


def _event(event: _Stored | _Removed | _Cleared) -> KvEvent:
    if isinstance(event, _Stored):
        return _stored(event)
    if isinstance(event, _Removed):
        return BlocksRemoved(
            hashes=event.block_hashes,
            tier=_TIERS.get(event.medium, _STORAGE),
            group=event.group_idx or 0,
        )
    return BlocksCleared()


def _stored(event: _Stored) -> BlocksStored:
    adapter = event.lora_name
    if adapter is None and event.lora_id is not None:
        adapter = f"\0{event.lora_id}"  # a number nobody asks for by name
    salt, marks = _extras(event, adapter) if event.extra_keys else (None, {})
    kind, window = event.kv_cache_spec_kind, event.kv_cache_spec_sliding_window
    return BlocksStored(
        hashes=event.block_hashes,
        parent=event.parent_block_hash,
        tokens=packed(event.token_ids),
        block_tokens=event.block_size,
        adapter=adapter,
        salt=salt,
        marks=marks,
        tier=_TIERS.get(event.medium, _STORAGE),
        group=event.group_idx or 0,
        window_tokens=window if kind in _WINDOWS else None,
        prefix=kind in _WHOLE or (kind in _WINDOWS and window is not None),
    )


def _extras(event: _Stored, adapter: str | None) -> tuple[str | None, dict[int, bytes]]:
    """Tell apart what else goes into hashes: the salt of a first block, anything other."""
    salt, marks = None, {}
    for number, keys in enumerate(event.extra_keys or ()):
        rest = [key for key in keys or () if key != adapter]
        if not rest:
            continue
        if number == 0 and event.parent_block_hash is None and len(rest) == 1:
            salt = rest[0] if isinstance(rest[0], str) else None
        if salt is None or number:
            marks[number] = _encode(rest)
    return salt, marks


def packed(ids: list[int]) -> bytes:
    r"""Give token ids as little-endian 32-bit numbers.

    >>> packed([1, 256])
    b'\x01\x00\x00\x00\x00\x01\x00\x00'
    """
    packed = array("I", ids)
    if byteorder == "big":
        packed.byteswap()
    return packed.tobytes()
