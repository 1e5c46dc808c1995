"""What endpoints announce, and what of a prompt they are then known to hold."""

import random
from array import array

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictor.kv_cache import (
    BlocksCleared,
    BlocksRemoved,
    BlocksStored,
    KvEvent,
    chain,
    root,
)
from scheduler.endpoint_table import EndpointTable
from scheduler.exact_index import ExactIndex

SIZE = 2  # tokens per block
Tokens = list[int]


def packed(tokens: Tokens) -> bytes:
    return array("I", tokens).tobytes()


def names(tokens: Tokens, **key: str) -> tuple[int, ...]:
    return chain(packed(tokens), SIZE, root(key.get("adapter"), key.get("salt")))


def stored(tokens: Tokens, hashes: list[int], parent: int | None = None, **more: object) -> KvEvent:
    fields = {"block_tokens": SIZE, "tokens": packed(tokens), **more}
    return BlocksStored(hashes=hashes, parent=parent, **fields)  # type: ignore[arg-type]  # test shorthand


class Index:
    """An exact index whose endpoints are whole from the beginning."""

    def __init__(self, endpoints: int = 3, most_blocks: int = 1000) -> None:
        self.index = ExactIndex(EndpointTable(), most_blocks=most_blocks)
        for row in range(endpoints):
            self.index.follow(row, whole=True)
            self.index.resize(row, block_tokens=SIZE, capacity_tokens=None)

    def hear(self, row: int, *events: KvEvent) -> None:
        self.index.apply(row, events)

    def held(self, tokens: Tokens, row: int = 0, **key: str) -> list[float]:
        """Give the blocks held by tier; -1 where it cannot be told."""
        into = np.full((1, 3), -SIZE, float)
        blocks = {SIZE: names(tokens, **key)}
        which = np.array([self.index.known_with(blocks) >> row & 1], bool)
        self.index.match(blocks, np.array([row]), which, into=into, most=len(tokens))
        found: list[float] = (into[0] / SIZE).tolist()
        return found


def test_a_prefix_is_held_as_far_as_it_was_announced() -> None:
    given = Index()
    given.hear(0, stored([1, 2, 3, 4], [71, 72]))
    given.hear(0, stored([5, 6], [73], parent=72))
    given.hear(1, stored([1, 2], [901]))  # other names: another hash function

    assert given.held([1, 2, 3, 4, 5, 6, 7, 8]) == [3, 0, 0]
    assert given.held([1, 2, 3, 4], row=1) == [1, 0, 0]
    assert given.held([3, 4]) == [0, 0, 0]


def test_a_copy_that_goes_leaves_the_other() -> None:
    given = Index()
    given.hear(0, stored([1, 2], [71]), stored([1, 2], [71]))

    given.hear(0, BlocksRemoved(hashes=[71]))

    assert given.held([1, 2]) == [1, 0, 0]
    given.hear(0, BlocksRemoved(hashes=[71]), BlocksRemoved(hashes=[71]))
    assert given.held([1, 2]) == [0, 0, 0]
    assert len(given.index) == 0


def test_adapter_salt_and_images_keep_prompts_apart() -> None:
    given = Index()
    given.hear(0, stored([1, 2], [71], adapter="lora"))
    given.hear(0, stored([3, 4], [72], salt="mine"))
    given.hear(0, stored([5, 6, 7, 8], [73, 74], marks={1: b"image"}))

    assert given.held([1, 2]) == [0, 0, 0]
    assert given.held([1, 2], adapter="lora") == [1, 0, 0]
    assert given.held([3, 4], salt="theirs") == [0, 0, 0]
    assert given.held([3, 4], salt="mine") == [1, 0, 0]
    assert given.held([5, 6, 7, 8]) == [1, 0, 0]


def test_a_cleared_cache_holds_nothing_and_is_known_again() -> None:
    given = Index()
    given.hear(0, stored([1, 2], [71]))
    given.index.lose(0)
    assert given.held([1, 2]) == [-1, -1, -1]

    given.hear(0, BlocksCleared())

    assert given.held([1, 2]) == [0, 0, 0]


def test_an_endpoint_whose_beginning_was_missed_is_known_once_its_cache_has_turned_over() -> None:
    given = Index()
    given.index.follow(0, whole=False)
    given.index.resize(0, block_tokens=SIZE, capacity_tokens=20 * SIZE)
    tokens = list(range(2 * 20))

    given.hear(0, stored([9, 9], [99], parent=98))  # what it continues is not known
    given.hear(0, stored(tokens[:36], list(range(18))))
    assert given.held(tokens) == [-1, -1, -1]
    given.hear(0, stored(tokens[36:], [18, 19], parent=17))

    assert given.held(tokens) == [20, 0, 0]


def test_what_the_gpu_lacks_is_looked_up_in_cpu_memory() -> None:
    given = Index()
    given.hear(0, stored([1, 2, 3, 4], [71, 72]))
    given.hear(0, stored([1, 2, 3, 4], [71, 72], tier=1), stored([5, 6], [73], 72, tier=1))
    given.hear(0, BlocksRemoved(hashes=[72]))

    assert given.held([1, 2, 3, 4, 5, 6]) == [1, 2, 0]


def test_windows_must_hold_the_last_blocks_they_read() -> None:
    given = Index()
    tokens = list(range(12))
    given.hear(0, stored(tokens, list(range(6)), group=0))
    # Window of 4 tokens: the last two blocks before the next token are read.
    given.hear(0, stored(tokens, list(range(6)), group=1, window_tokens=4))
    given.hear(0, BlocksRemoved(hashes=[0, 1, 2, 5], group=1))

    assert given.held(tokens) == [5, 0, 0]  # blocks 3 and 4 are there
    given.hear(0, BlocksRemoved(hashes=[4], group=1))
    assert given.held(tokens) == [0, 0, 0]


def test_blocks_a_window_left_out_are_told_by_their_names() -> None:
    given = Index()
    tokens = list(range(8))
    given.hear(0, stored(tokens, [10, 11, 12, 13], group=0))
    given.hear(0, stored(tokens, [12, 13], group=1, window_tokens=4))

    assert given.held(tokens) == [4, 0, 0]


def test_layers_of_another_kind_are_not_spoken_for() -> None:
    given = Index()
    given.hear(0, stored([1, 2], [71]), stored([1, 2], [71], group=1, prefix=False))

    assert given.held([1, 2]) == [-1, -1, -1]


def test_endpoints_with_other_block_sizes_are_found_by_their_own() -> None:
    given = Index(endpoints=2)
    given.index.resize(1, block_tokens=4, capacity_tokens=None)
    tokens = list(range(8))
    given.hear(0, stored(tokens[:6], [71, 72, 73]))
    given.hear(1, stored(tokens, [81, 82], block_tokens=4))
    both = {size: chain(packed(tokens), size, root(None, None)) for size in (2, 4)}
    found, rows = np.zeros((2, 3)), np.array([1, 0])

    given.index.match(both, rows, np.array([True, True]), into=found, most=8)

    assert found.tolist() == [[8, 0, 0], [6, 0, 0]]
    assert given.index.known_with({4: ()}) == 0b10


def test_an_endpoint_that_announces_more_than_there_is_room_for_is_not_followed() -> None:
    given = Index(most_blocks=4)
    given.hear(0, stored([1, 2, 3, 4], [71, 72]))

    given.hear(1, stored([5, 6, 7, 8, 9, 10], [73, 74, 75]))

    assert given.held([5, 6], row=1) == [-1, -1, -1]
    assert given.held([1, 2, 3, 4]) == [2, 0, 0]
    assert len(given.index) <= 4


def test_at_the_bound_names_are_looked_through_once_in_many_events() -> None:
    given = Index(most_blocks=32)
    given.hear(0, stored(list(range(64)), list(range(32))))
    given.hear(1, stored([70, 71], [70]))
    names = given.index._names  # a sweep replaces it

    for number in range(10):
        given.hear(1, stored([number, 99], [100 + number]))
        given.hear(2, stored([number, 98], [200 + number]))

    assert given.index._names is names
    assert given.held([0, 1]) == [1, 0, 0]
    assert given.held([70, 71], row=1) == [-1, -1, -1]


def test_what_endpoints_that_left_have_announced_makes_room() -> None:
    given = Index(most_blocks=32)
    given.hear(0, stored(list(range(20)), list(range(10))))
    given.hear(1, stored(list(range(100, 144)), list(range(100, 122))))
    given.index.forget(0)  # too few to be looked for at once

    given.hear(2, stored(list(range(200, 216)), list(range(200, 208))))

    assert given.held(list(range(200, 216)), row=2) == [8, 0, 0]
    assert len(given.index) == 30


def test_a_prompt_being_computed_counts_until_it_is_released() -> None:
    given = Index()
    blocks = {SIZE: names([1, 2, 3, 4])}
    given.hear(0, stored([1, 2], [71]))
    coming = given.index.expect(0, blocks)

    assert given.held([1, 2, 3, 4]) == [2, 0, 0]
    given.index.release(0, coming)

    assert given.held([1, 2, 3, 4]) == [1, 0, 0]


class Engine:
    """An engine that shares, duplicates and evicts blocks, least recently used leaf first."""

    def __init__(self, rng: random.Random, capacity: int) -> None:
        self.rng = rng
        self.capacity = capacity
        self.blocks: list[tuple[int, ...]] = []  # copies, by content; the next to go first

    def run(self, prompt: tuple[int, ...]) -> list[KvEvent]:
        chainlinks = [prompt[:end] for end in range(SIZE, len(prompt) + 1, SIZE)]
        hit = 0
        while hit < len(chainlinks) and chainlinks[hit] in self.blocks:
            hit += 1
        if hit and self.rng.random() < 0.2:
            hit -= 1  # as two requests at once would: a second copy
        used = chainlinks[:hit]
        for link in used:
            self.blocks.remove(link)
        events: list[KvEvent] = []
        while self.blocks and len(self.blocks) + len(chainlinks) > self.capacity:
            events.append(BlocksRemoved(hashes=[hash(self.blocks.pop(0))]))
        fresh = chainlinks[hit:]
        if fresh:
            tokens = [token for link in fresh for token in link[-SIZE:]]
            parent = hash(chainlinks[hit - 1]) if hit else None
            events.append(stored(tokens, [hash(link) for link in fresh], parent))
        self.blocks += reversed(chainlinks)
        return events


@given(st.integers(0, 10**6))
def test_the_index_knows_what_an_engine_holds(seed: int) -> None:
    rng = random.Random(seed)
    given = Index(endpoints=1)
    engine = Engine(rng, capacity=12)
    for _ in range(30):
        prompt = tuple(rng.choices((1, 2), k=SIZE * rng.randint(1, 6)))
        expected = 0
        while expected * SIZE < len(prompt) and prompt[: (expected + 1) * SIZE] in engine.blocks:
            expected += 1

        assert given.held(list(prompt)) == [expected, 0, 0]

        given.hear(0, *engine.run(prompt))
    assert len(given.index) == len(set(engine.blocks))
