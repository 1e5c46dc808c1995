"""What was sent where, as far as it can still be there."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictor.types import EndpointState
from scheduler.endpoint_table import EndpointTable
from scheduler.prefix_index import PrefixIndex

A, B, C = "a:1", "b:1", "c:1"


class Index:
    """A prefix index asked by name, one token a block."""

    def __init__(self, default_capacity_blocks: int = 100) -> None:
        self.table = EndpointTable()
        self.index = PrefixIndex(default_capacity_blocks=default_capacity_blocks, table=self.table)

    def resize(self, endpoint: str, model: str = "m", **tokens: int) -> None:
        state = EndpointState(endpoint=endpoint, url="", model=model, **tokens)  # type: ignore[arg-type]  # test shorthand
        self.index.resize(state, block_tokens=1.0)

    def tiers(self, hashes: tuple[int, ...], *endpoints: str) -> list[list[float]]:
        rows = np.array([self.table.row(name) for name in endpoints])
        matched: list[list[float]] = self.index.matched_blocks(hashes, rows).tolist()
        return matched

    def on_gpu(self, hashes: tuple[int, ...], *endpoints: str) -> list[float]:
        return [gpu for gpu, _, _ in self.tiers(hashes, *endpoints)]


def test_a_match_is_the_longest_leading_run_held() -> None:
    given = Index()
    given.index.insert(A, (1, 2, 3, 4))
    given.index.insert(B, (1, 2))

    assert given.tiers((1, 2, 3, 9), A, B, C) == [[3, 0, 0], [2, 0, 0], [0, 0, 0]]
    assert given.on_gpu((9, 1), A, B) == [0, 0]
    assert given.on_gpu((), A, B) == [0, 0]


def test_a_block_that_only_others_continue_ends_a_match() -> None:
    given = Index()
    given.index.insert(A, (1, 2))
    given.index.insert(B, (1, 2, 3))
    given.index.insert(A, (1, 2, 9, 4))

    assert given.on_gpu((1, 2, 3, 4), A, B) == [2, 3]


def test_the_least_recently_used_leaves_are_forgotten_first() -> None:
    given = Index(default_capacity_blocks=4)
    given.index.insert(A, (1, 2, 3))

    given.index.insert(A, (1, 8, 9))

    assert given.on_gpu((1, 8, 9), A) == [3]
    assert given.on_gpu((1, 2, 3), A) == [2]


def test_an_endpoints_own_capacity_bounds_it() -> None:
    given = Index()
    given.resize(A, kv_capacity_tokens=2)

    given.index.insert(A, (1, 2, 3, 4))

    assert given.on_gpu((1, 2, 3, 4), A) == [2]


def test_a_cleared_endpoint_holds_nothing() -> None:
    given = Index()
    given.index.insert(A, (1, 2))
    given.index.insert(B, (1,))

    given.index.clear(A)

    assert given.on_gpu((1, 2), A, B) == [0, 1]


def test_a_cleared_endpoint_has_the_default_capacity_until_it_tells_again() -> None:
    given = Index()
    given.resize(A, kv_capacity_tokens=1)

    given.index.clear(A)
    given.index.insert(A, (1, 2, 3))

    assert given.on_gpu((1, 2, 3), A) == [3]


def test_what_the_gpu_gave_up_is_still_in_cpu_memory() -> None:
    given = Index()
    given.resize(A, kv_capacity_tokens=2, cpu_kv_tokens=5)
    given.resize(B, kv_capacity_tokens=2)

    for endpoint in (A, B):
        given.index.insert(endpoint, (1, 2, 3, 4))
        given.index.insert(endpoint, (7, 8))

    assert given.tiers((7, 8), A, B) == [[2, 0, 0], [2, 0, 0]]
    assert given.tiers((1, 2, 3, 4), A, B) == [[0, 3, 0], [0, 0, 0]]


def test_storage_counts_for_every_endpoint_of_the_fleet_that_shares_it() -> None:
    given = Index()
    for endpoint in (A, B):
        given.resize(endpoint, kv_capacity_tokens=3, shared_kv_tokens=100)
    given.resize(C, kv_capacity_tokens=3)

    given.index.insert(A, (1, 2, 3, 4))

    assert given.tiers((1, 2, 3, 4), A, B, C) == [[3, 0, 1], [0, 0, 4], [0, 0, 0]]


def test_storage_of_another_fleet_is_another() -> None:
    given = Index()
    given.resize(A, model="m", shared_kv_tokens=100)
    given.resize(B, model="other", shared_kv_tokens=100)

    given.index.insert(A, (1, 2))

    assert given.tiers((1, 2), B) == [[0, 0, 0]]


def test_tiers_are_looked_up_behind_each_other() -> None:
    given = Index()
    given.resize(A, kv_capacity_tokens=1, cpu_kv_tokens=2, shared_kv_tokens=3)

    given.index.insert(A, (1, 2, 3, 4))

    assert given.tiers((1, 2, 3, 4), A) == [[1, 1, 1]]


def test_a_restart_leaves_shared_storage_alone() -> None:
    given = Index()
    for endpoint in (A, B):
        given.resize(endpoint, cpu_kv_tokens=10, shared_kv_tokens=10)
    given.index.insert(A, (1, 2))

    given.index.clear(A)
    given.resize(A, cpu_kv_tokens=10, shared_kv_tokens=10)

    assert given.tiers((1, 2), A, B) == [[0, 0, 2], [0, 0, 2]]


def test_tiers_that_are_no_longer_configured_hold_nothing() -> None:
    given = Index()
    given.resize(A, kv_capacity_tokens=1, cpu_kv_tokens=10, shared_kv_tokens=10)
    given.index.insert(A, (1, 2, 3))

    given.resize(A, kv_capacity_tokens=1)

    assert given.tiers((1, 2, 3), A) == [[1, 0, 0]]


def test_effectiveness_follows_what_endpoints_report() -> None:
    given = Index()

    for _ in range(200):
        given.index.report(A, matched_tokens=1000, cached_tokens=500)
    given.index.report(B, matched_tokens=10, cached_tokens=0)

    rows = np.array([given.table.row(name) for name in (A, B)])
    assert abs(given.index.effectiveness(A) - 0.5) < 0.01
    assert given.index.effectiveness(B) == 1.0
    assert given.table.effectiveness(rows).tolist() == [given.index.effectiveness(A), 1.0]


ENDPOINTS = tuple(f"{number}:1" for number in range(20))


@given(st.lists(st.tuples(st.sampled_from(ENDPOINTS), st.lists(st.integers(1, 30), unique=True))))
def test_nothing_more_than_the_capacity_is_ever_held(inserts: list[tuple[str, list[int]]]) -> None:
    given = Index(default_capacity_blocks=8)

    for endpoint, hashes in inserts:
        given.index.insert(endpoint, hashes)

    held = np.array([given.on_gpu((block,), *ENDPOINTS) for block in range(1, 31)])
    assert held.max() <= 1
    assert held.sum(axis=0).max() <= 8


@given(
    st.lists(st.tuples(st.sampled_from(ENDPOINTS), st.lists(st.integers(1, 6), unique=True))),
    st.lists(st.integers(1, 6), unique=True).map(tuple),
)
def test_matches_are_those_one_finds_block_by_block(
    inserts: list[tuple[str, list[int]]], asked: tuple[int, ...]
) -> None:
    given = Index()
    held: dict[str, set[int]] = {name: set() for name in ENDPOINTS}

    for endpoint, hashes in inserts:
        given.index.insert(endpoint, hashes)
        held[endpoint].update(hashes)

    for name, matched in zip(ENDPOINTS, given.on_gpu(asked, *ENDPOINTS), strict=True):
        missing = [depth for depth, block in enumerate(asked) if block not in held[name]]
        assert matched == min(missing, default=len(asked))


def test_all_endpoints_together_are_bounded_in_equal_shares() -> None:
    table = EndpointTable()
    index = PrefixIndex(default_capacity_blocks=100, total_blocks=12, table=table)
    index.insert(A, range(1, 11))

    index.insert(B, range(101, 111))
    index.insert(C, range(201, 211))

    held = [
        index.matched_blocks(hashes, np.array([table.row(name)]))[0, 0]
        for name, hashes in ((A, range(1, 11)), (B, range(101, 111)), (C, range(201, 211)))
    ]
    assert held == [4, 4, 4]
