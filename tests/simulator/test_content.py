import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simulator.content import LONGEST_PROMPT_TOKENS, Segment, block_hashes, segment_tokens

# Few ids and short lengths, so that prompts agree often and part in every way.
SEGMENTS = st.lists(st.tuples(st.integers(-2, 2), st.integers(0, 40)), max_size=6)


def _tokens(segments: list[Segment]) -> list[tuple[int, int]]:
    return [(content_id, index) for content_id, tokens in segments for index in range(tokens)]


def _agreeing_tokens(first: list[Segment], second: list[Segment]) -> int:
    agreed = 0
    for one, other in zip(_tokens(first), _tokens(second), strict=False):
        if one != other:
            break
        agreed += 1
    return agreed


@given(SEGMENTS, SEGMENTS, st.sampled_from([1, 2, 7, 16, 64]))
@example([(1, 32), (2, 8)], [(1, 40)], 16)  # parts within a block
@example([(1, 16), (2, 16)], [(1, 32)], 16)  # parts where a block ends
@example([(1, 8), (1, 8)], [(1, 16)], 8)  # the same content, from its beginning again
@example([(1, 0), (2, 16)], [(2, 16)], 16)  # an empty segment
def test_prompts_share_keys_exactly_as_far_as_their_content_agrees(
    first: list[Segment], second: list[Segment], block_tokens: int
) -> None:
    keys, others = block_hashes(first, block_tokens), block_hashes(second, block_tokens)

    shared = _agreeing_tokens(first, second) // block_tokens
    assert keys[:shared] == others[:shared]
    assert not set(keys[shared:]) & set(others[shared:])


@given(SEGMENTS, st.integers(1, 70))
def test_every_full_block_has_a_key_of_its_own(segments: list[Segment], block_tokens: int) -> None:
    keys = block_hashes(segments, block_tokens)

    assert len(keys) == len(set(keys)) == segment_tokens(segments) // block_tokens
    assert all(0 <= key < 1 << 64 for key in keys)


def test_keys_are_the_same_in_every_process() -> None:
    assert block_hashes([(1, 20), (-2, 20)], 16) == [535526762642145296, 9448046936041979936]


def test_a_prompt_that_keys_cannot_tell_apart_is_refused() -> None:
    with pytest.raises(ValueError, match="16777216 tokens"):
        block_hashes([(1, LONGEST_PROMPT_TOKENS), (2, 1)], 1 << 20)
