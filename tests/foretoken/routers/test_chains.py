"""What is written short is read whole, or known to be missing."""

from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from foretoken.routers.chains import CHAIN_BYTES, HASH_BYTES, HELD_FACTOR, Chains

BLOCKS = st.lists(st.integers(0, 3), max_size=40)


def hashed(blocks: list[int]) -> list[int]:
    """Give hashes of blocks, each of which stands for all before it."""
    chain: list[int] = []
    for block in blocks:
        chain.append(xxh3_64_intdigest(f"{chain[-1:]} {block}".encode()) or 1)
    return chain


@given(st.lists(st.tuples(BLOCKS, st.integers(0, 40)), max_size=20))
def test_readers_in_step_read_what_was_written(told: list[tuple[list[int], int]]) -> None:
    writers = [Chains(most=2000), Chains(most=2000)]
    before: list[int] = []

    for turn, (rest, kept) in enumerate(told):
        blocks = before[:kept] + rest
        chain = hashed(blocks)
        writer, reader = writers[turn % 2], writers[1 - turn % 2]
        assert reader.whole(*writer.shorten(chain)) == tuple(chain)
        before = blocks


def test_what_is_kept_is_bounded() -> None:
    most = 10 * (10 * HASH_BYTES + CHAIN_BYTES)
    chains = Chains(most=most)

    for number in range(1000):
        chains.shorten([number * 1000 + place + 1 for place in range(10)])

    assert 0 < chains._held <= HELD_FACTOR * most
    assert len(chains._known) == len(chains._order) <= HELD_FACTOR * 10


def test_prompts_that_begin_alike_share_their_beginning() -> None:
    chains = Chains()
    system = list(range(1, 33))
    chains.shorten([*system, 1001, 1002])

    assert chains.shorten([*system, 2001]).length == 32
