import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.errors import RequestRefused
from simulator.language import (
    CORPUS_TOKENS,
    Language,
    chain_hashes,
    detokenize,
    from_ids,
    token_ids,
    tokenize,
    tokenize_chat,
)


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_text_survives_its_tokens(text: str) -> None:
    tokens = tokenize(text)

    assert len(tokens) == -(-len(text.encode()) // 4) * 4
    assert detokenize(from_ids(token_ids(tokens))) == text


@given(head=st.text(max_size=200), tail=st.text(max_size=50))
def test_a_longer_text_has_the_blocks_of_its_prefix(head: str, tail: str) -> None:
    short = chain_hashes(tokenize(head)[: len(head.encode()) // 4 * 4], 4)

    long = chain_hashes(tokenize(head + tail), 4)

    assert long[: len(short)] == short


def test_a_block_hash_depends_on_everything_before_it() -> None:
    first, second = chain_hashes(b"a" * 64 + b"z" * 64, 16), chain_hashes(b"b" * 64 + b"z" * 64, 16)

    assert first[1] != second[1]


def test_an_answer_has_the_same_tokens_when_it_comes_back() -> None:
    question = [("system", "Be brief."), ("user", "Why is the sky blue?")]
    prompt = tokenize_chat(question)
    answer = Language().answer(prompt, 33)

    following = tokenize_chat([*question, ("assistant", answer), ("user", "And at night?")])

    assert following.startswith(prompt + answer.encode())


def test_an_answer_depends_on_the_prompt_alone() -> None:
    prompt, other = tokenize("one prompt"), tokenize("another prompt")

    answers = [Language().answer(tokens, 20) for tokens in (prompt, prompt, other)]

    assert answers[0] == answers[1] != answers[2]


def test_a_passage_of_fewer_than_no_tokens_is_empty() -> None:
    assert Language().passage(3, -5) == ""


def test_a_passage_may_go_on_past_the_end_of_the_corpus() -> None:
    language = Language()
    tokens = 2 * CORPUS_TOKENS + 5

    text = language.passage(CORPUS_TOKENS - 3, tokens)

    assert len(text) == 4 * tokens
    assert text[12:] == language.passage(0, tokens - 3)


@pytest.mark.parametrize("ids", [[-1], [2**32]])
def test_a_number_that_is_no_token_is_refused(ids: list[int]) -> None:
    with pytest.raises(RequestRefused):
        from_ids(ids)
