"""How far endpoints go along with a chain is what a walk along it finds."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.chain_search import MANY, holders, runs, with_tails

ENDPOINTS = 2 * MANY


@given(
    st.integers(0, 60),
    st.lists(st.integers(0, 60), min_size=ENDPOINTS, max_size=ENDPOINTS),
    st.integers(1, ENDPOINTS),
)
def test_depths_are_found_whoever_stops_where(length: int, depths: list[int], count: int) -> None:
    def held(index: int) -> int:
        return sum(1 << row for row, depth in enumerate(depths) if index < depth)

    want = (1 << count) - 1

    found = runs(holders(held), length, want).counts(ENDPOINTS).tolist()

    expected = [min(depth, length) if row < count else 0 for row, depth in enumerate(depths)]
    assert found == expected


def test_few_blocks_are_asked_for() -> None:
    asked = []

    def held(index: int) -> int:
        asked.append(index)
        return 0b11 if index < 4000 else 0b01

    assert runs(holders(held), 6000, 0b11).counts(8)[:2].tolist() == [6000, 4000]
    assert len(asked) < 40


@given(st.integers(0, 12), st.sets(st.integers(0, 11)), st.integers(1, 4), st.integers(1, 4))
def test_a_prefix_ends_where_every_window_has_its_tail(
    depth: int, held: set[int], one: int, other: int
) -> None:
    def found(end: int) -> bool:
        return all(index in held for index in range(max(end - max(one, other), 0), end))

    tails = [(reach, holders(lambda index: int(index in held))) for reach in (one, other)]

    assert with_tails(depth, 0, tails) == max(end for end in range(depth + 1) if found(end))
