"""What was sent where, as far as it can still be there."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.prefix_index import PrefixIndex

A, B = "a:1", "b:1"


def test_a_match_is_the_longest_leading_run_held() -> None:
    index = PrefixIndex(default_capacity_blocks=100)
    index.insert(A, (1, 2, 3, 4))
    index.insert(B, (1, 2))

    assert index.matched_blocks((1, 2, 3, 9), (A, B)).tolist() == [3, 2]


def test_the_least_recently_used_leaves_are_forgotten_first() -> None:
    index = PrefixIndex(default_capacity_blocks=4)
    index.insert(A, (1, 2, 3))

    index.insert(A, (1, 8, 9))

    assert index.matched_blocks((1, 8, 9), (A,)).tolist() == [3]
    assert index.matched_blocks((1, 2, 3), (A,)).tolist() == [2]


def test_an_endpoints_own_capacity_bounds_it() -> None:
    index = PrefixIndex(default_capacity_blocks=100)
    index.set_capacity(A, 2)

    index.insert(A, (1, 2, 3, 4))

    assert index.matched_blocks((1, 2, 3, 4), (A,)).tolist() == [2]


def test_a_cleared_endpoint_holds_nothing() -> None:
    index = PrefixIndex(default_capacity_blocks=100)
    index.insert(A, (1, 2))
    index.insert(B, (1,))

    index.clear(A)

    assert index.matched_blocks((1, 2), (A, B)).tolist() == [0, 1]


def test_a_cleared_endpoint_has_the_default_capacity_until_it_tells_again() -> None:
    index = PrefixIndex(default_capacity_blocks=100)
    index.set_capacity(A, 1)

    index.clear(A)
    index.insert(A, (1, 2, 3))

    assert index.matched_blocks((1, 2, 3), (A,)).tolist() == [3]


def test_effectiveness_follows_what_endpoints_report() -> None:
    index = PrefixIndex(default_capacity_blocks=100)

    for _ in range(200):
        index.report(A, matched_tokens=1000, cached_tokens=500)
    index.report(B, matched_tokens=10, cached_tokens=0)

    assert abs(index.effectiveness(A) - 0.5) < 0.01
    assert index.effectiveness(B) == 1.0


@given(st.lists(st.tuples(st.sampled_from((A, B)), st.lists(st.integers(1, 30), unique=True))))
def test_nothing_more_than_the_capacity_is_ever_held(inserts: list[tuple[str, list[int]]]) -> None:
    index = PrefixIndex(default_capacity_blocks=8)

    for endpoint, hashes in inserts:
        index.insert(endpoint, hashes)

    for block in range(1, 31):
        matched = index.matched_blocks((block,), (A, B))
        assert matched.max() <= 1
    held = {e: sum(index.matched_blocks((b,), (e,))[0] for b in range(1, 31)) for e in (A, B)}
    assert max(held.values()) <= 8
