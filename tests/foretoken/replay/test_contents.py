from collections.abc import Sequence
from typing import Any

from foretoken.replay.contents import Contents, write_contents
from foretoken.replay.recorded import Recorded
from simulator.content import block_hashes, segment_tokens
from tests.foretoken.replay.rows import recorded


def written(requests: Sequence[Recorded]) -> Contents:
    prompts = [one.prompt_tokens or 1 for one in requests]
    outputs = [one.output_tokens or 1 for one in requests]
    return write_contents(requests, prompts, outputs, 0.25)


def agree(contents: Contents, one: int, other: int) -> int:
    """Count the tokens two prompts have in common from their beginning."""
    keys, others = (block_hashes(contents.prompts[each], 16) for each in (one, other))
    same = [a == b for a, b in zip(keys, others, strict=False)]
    return 16 * (same.index(False) if False in same else len(same))


def chat(number: int, blocks: Sequence[int], **given: Any) -> Recorded:
    return recorded(number, blocks=blocks, prompt_tokens=64 * len(blocks), session="chat", **given)


def test_prompts_share_as_far_as_their_block_hashes_do() -> None:
    contents = written(
        [recorded(0, blocks=(1, 2, 3, 4)), recorded(1, blocks=(1, 2, 9, 10), e2e_s=99.0)]
    )

    assert contents.source == "block hashes"
    assert agree(contents, 0, 1) == 128


def test_a_turn_begins_with_the_turn_before_and_its_answer() -> None:
    first = chat(0, (1, 2), output_tokens=100)
    second = chat(1, (1, 2, 3, 4, 5))

    contents = written([first, second])

    assert contents.parents == {1: 0}
    assert contents.prompts[1][:3] == (*contents.prompts[0], (-2, 100))
    assert segment_tokens(contents.prompts[1]) == 320


def test_a_turn_sent_before_the_answer_came_does_not_hold_it() -> None:
    contents = written([chat(0, (1, 2), e2e_s=5.0), chat(1, (1, 2, 3, 4))])

    assert contents.parents == {}


def test_answers_that_caches_did_not_hold_are_not_shared() -> None:
    turns = [
        turn
        for pair in range(10)
        for turn in (
            recorded(2 * pair, blocks=(100 * pair, 100 * pair + 1), session=f"{pair}",
                     prompt_tokens=128),
            recorded(2 * pair + 1, blocks=[100 * pair + at for at in range(5)], session=f"{pair}",
                     prompt_tokens=320, cached_tokens=128),
        )
    ]  # fmt: skip

    contents = written(turns)

    assert contents.answers_found is False
    assert contents.parents == {}
    assert agree(contents, 0, 1) == 128


def test_without_hashes_as_much_is_shared_as_was_found() -> None:
    contents = written([recorded(0, cached_tokens=0), recorded(1, cached_tokens=128)])

    assert contents.source == "cached tokens"
    assert contents.prompts[1][0][1] == 128


def test_without_hashes_or_counts_nothing_is_shared() -> None:
    contents = written([recorded(number, cached_tokens=None) for number in range(2)])

    assert contents.source == "nothing"
    assert agree(contents, 0, 1) == 0
