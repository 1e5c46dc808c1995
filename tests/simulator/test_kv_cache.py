from simulator.kv_cache import Holding, KvCache


def _hold(cache: KvCache, hashes: tuple[int, ...], blocks: int) -> Holding:
    known = hashes[: cache.match(hashes, len(hashes))]
    holding = cache.admit(known, needed=blocks)
    assert holding is not None
    assert cache.extend(holding, blocks)
    cache.publish(holding, hashes, full=len(hashes))
    return holding


def test_released_blocks_are_free_and_can_still_be_found() -> None:
    cache = KvCache(10)
    holding = _hold(cache, (1, 2, 3), blocks=4)

    cache.release(holding)

    assert cache.free == 10
    assert cache.match((1, 2, 3), limit=3) == 3


def test_a_match_ends_at_the_first_unknown_block() -> None:
    cache = KvCache(10)
    _hold(cache, (1, 2, 3), blocks=3)

    assert cache.match((1, 9, 3), limit=3) == 1
    assert cache.match((1, 2, 3), limit=2) == 2


def test_the_least_recently_released_block_is_evicted_first() -> None:
    cache = KvCache(4)
    older, newer = _hold(cache, (1, 2), blocks=2), _hold(cache, (3, 4), blocks=2)
    cache.release(older)
    cache.release(newer)

    _hold(cache, (), blocks=2)

    assert cache.match((1, 2), limit=2) == 0
    assert cache.match((3, 4), limit=2) == 2


def test_the_end_of_a_prefix_is_evicted_before_its_beginning() -> None:
    cache = KvCache(4)
    cache.release(_hold(cache, (1, 2, 3, 4), blocks=4))

    _hold(cache, (), blocks=1)

    assert cache.match((1, 2, 3, 4), limit=4) == 3


def test_a_block_in_use_is_never_evicted() -> None:
    cache = KvCache(4)
    cache.release(_hold(cache, (1, 2), blocks=2))
    _hold(cache, (1, 2), blocks=2)
    other = cache.admit((), needed=2)
    assert other is not None

    grew = [cache.extend(other, 2), cache.extend(other, 3)]

    assert grew == [True, False]
    assert cache.match((1, 2), limit=2) == 2


def test_a_shared_block_counts_once_and_is_free_when_both_are_gone() -> None:
    cache = KvCache(10)
    first, second = _hold(cache, (1, 2), blocks=3), _hold(cache, (1, 2), blocks=3)

    free_with_both = cache.free
    cache.release(first)
    free_with_one = cache.free
    cache.release(second)

    assert (free_with_both, free_with_one, cache.free) == (6, 7, 10)


def test_admission_counts_the_released_blocks_it_would_pin() -> None:
    cache = KvCache(4)
    cache.release(_hold(cache, (1, 2), blocks=2))
    _hold(cache, (), blocks=2)

    refused = cache.admit((1, 2), needed=3)

    assert refused is None
    assert cache.free == 2
