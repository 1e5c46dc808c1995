"""Publish what the simulated KV cache holds, as vLLM does: over ZMQ, numbered, with replay.

Turns hashes that the cache speaks of back into the tokens they stand for. Batches are sent
when a step has been put together and when one has ended; one per step that changed
anything, as vLLM's. Called by the HTTP face.

Source: vLLM 0.32 ``distributed/kv_events.py``, ``v1/core/block_pool.py``.
"""

import asyncio
from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec
import zmq
import zmq.asyncio

Encoding = Literal["maps", "arrays"]
"""How events are written: maps since vLLM 0.32, arrays before."""

BUFFER_BATCHES: Final = 10_000
"""Batches kept for replay, vLLM's default."""

_END: Final = b"\xff" * 8
_MEDIUM: Final = "GPU"
_KIND: Final = "full_attention"


@dataclass(frozen=True, slots=True)
class _Content:
    parent: int | None
    tokens: bytes
    salt: str | None


class CacheJournal:
    """Note the changes of a cache as events; a watcher of it.

    Args:
        block_size: Tokens per block.
        encoding: How events are written.

    >>> journal = CacheJournal(block_size=1, encoding="maps")
    >>> journal.expect([7, 8], b"abcdefgh", salt=None)
    >>> journal.stored([7, 8])
    >>> [event["block_hashes"] for event in journal.take()]
    [[7, 8]]
    >>> journal.removed(8)
    >>> journal.take()
    [{'type': 'BlockRemoved', 'block_hashes': [8], 'medium': 'GPU', 'group_idx': 0}]
    """

    def __init__(self, *, block_size: int, encoding: Encoding) -> None:
        self._width = 4 * block_size
        self._block_size = block_size
        self._encoding = encoding
        self._contents: dict[int, _Content] = {}
        self._known: set[int] = set()
        self._users: dict[int, int] = {}  # requests alive by block
        self._events: list[object] = []

    def expect(self, hashes: Sequence[int], tokens: bytes, *, salt: str | None) -> None:
        """Tell what the blocks of a request stand for, before it runs."""
        parent: int | None = None
        for number, block in enumerate(hashes):
            if block not in self._contents:
                piece = tokens[number * self._width : (number + 1) * self._width]
                self._contents[block] = _Content(parent, piece, None if number else salt)
            self._users[block] = self._users.get(block, 0) + 1
            parent = block

    def forget(self, hashes: Sequence[int]) -> None:
        """Take note that a request has ended, if it was ever expected."""
        for block in hashes:
            users = self._users.pop(block, 0) - 1
            if users < 0:
                continue
            if users:
                self._users[block] = users
            elif block not in self._known:
                del self._contents[block]

    def stored(self, hashes: Sequence[int]) -> None:
        """Note blocks that became known: one event for each run of them."""
        run: list[int] = []
        for block in hashes:
            content = self._contents.get(block)
            if content is None:
                continue
            if run and content.parent != run[-1]:
                self._add_stored(run)
                run = []
            run.append(block)
        if run:
            self._add_stored(run)

    def removed(self, block: int) -> None:
        """Note a block that was evicted."""
        if block in self._known:
            self._known.remove(block)
            self._drop(block)
            fields = {"block_hashes": [block], "medium": _MEDIUM, "group_idx": 0}
            self._add("BlockRemoved", fields)

    def cleared(self) -> None:
        """Note that no block is known any more."""
        for block in self._known:
            self._drop(block)
        self._known.clear()
        self._add("AllBlocksCleared", {})

    def take(self) -> list[object]:
        """Give what was noted since the last time."""
        events, self._events = self._events, []
        return events

    def _drop(self, block: int) -> None:
        if block not in self._users:
            del self._contents[block]

    def _add_stored(self, run: list[int]) -> None:
        contents = [self._contents[block] for block in run]
        self._known.update(run)
        tokens = array("I", b"".join(content.tokens for content in contents))
        fields = {
            "block_hashes": run,
            "parent_block_hash": contents[0].parent,
            "token_ids": tokens.tolist(),
            "block_size": self._block_size,
            "lora_id": None,
            "medium": _MEDIUM,
            "lora_name": None,
            "extra_keys": [[one.salt] if one.salt else None for one in contents],
            "group_idx": 0,
            "kv_cache_spec_kind": _KIND,
        }
        self._add("BlockStored", fields)

    def _add(self, kind: str, fields: Mapping[str, object]) -> None:
        maps = self._encoding == "maps"
        self._events.append({"type": kind, **fields} if maps else [kind, *fields.values()])


class KvEventPublisher:
    """Send batches and answer requests for those that were missed.

    Args:
        journal: What to send.
        address: Bound, or connected to as vLLM does with ``tcp://`` of one host.
        replay: Bound for replay, ``None`` for none.
        topic: Of every message.
    """

    def __init__(
        self, journal: CacheJournal, *, address: str, replay: str | None, topic: str = ""
    ) -> None:
        self._journal = journal
        self._address = address
        self._replay = replay
        self._topic = topic.encode()
        self._next = 0
        self._buffer: deque[tuple[bytes, bytes]] = deque(maxlen=BUFFER_BATCHES)
        self._socket: zmq.Socket[bytes] | None = None
        self._lost = self._kept = False

    def lose(self, *, replayed: bool) -> None:
        """Send nothing of what comes from now on; keep all of it for replay, or too little."""
        self._lost, self._kept = True, replayed

    def find_again(self) -> None:
        """Send what comes from now on; where too little was kept, only the last is replayed."""
        self._lost = False
        while not self._kept and len(self._buffer) > 1:
            self._buffer.popleft()

    async def run(self) -> None:
        """Keep the sockets open until cancelled."""
        with zmq.Context() as plain, zmq.asyncio.Context() as context:
            socket = plain.socket(zmq.PUB)
            router = context.socket(zmq.ROUTER)
            try:
                socket.setsockopt(zmq.SNDHWM, 100_000)
                if self._address.startswith("ipc://") or "*" in self._address:
                    socket.bind(self._address)
                else:
                    socket.connect(self._address)
                self._socket = socket
                if self._replay is None:
                    await asyncio.Event().wait()
                else:
                    router.bind(self._replay)
                    await self._answer(router)
            finally:
                self._socket = None
                socket.close(linger=0)
                router.close(linger=0)

    def publish(self, ts: float) -> None:
        """Send what has changed since the last time, if anything has."""
        events = self._journal.take()
        if not events:
            return
        number = self._next.to_bytes(8, "big")
        self._next += 1
        payload = msgspec.msgpack.encode([ts, events, 0])
        self._buffer.append((number, payload))
        if self._socket is not None and not self._lost:
            self._socket.send_multipart([self._topic, number, payload])  # never waits: it drops

    async def _answer(self, router: zmq.asyncio.Socket) -> None:
        while True:
            frames = await router.recv_multipart()
            if len(frames) != 3 or len(frames[2]) != len(_END):
                continue
            client, _, start = frames
            for number, payload in tuple(self._buffer):
                if number >= start:  # big-endian: as bytes as by value
                    await router.send_multipart([client, b"", self._topic, number, payload])
            await router.send_multipart([client, b"", b"", _END, b""])
