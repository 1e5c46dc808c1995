"""The language simulated endpoints speak: tokens, chat template, and answers.

Decides what a prompt's tokens are, what a model answers, and the hashes of both.
A token is four UTF-8 bytes, so a prefix of a text has a prefix of its tokens. Each
piece of a chat (header, content, end) starts at a token of its own, so an answer
has the same tokens when it comes back in the next turn. A model is a function of its
prompt: every endpoint gives the same answer to the same conversation, as one model
at temperature 0 would, and a workload can know it beforehand.
"""

from array import array
from collections.abc import Iterable, Sequence
from random import Random
from typing import Final

from xxhash import xxh3_64_intdigest

from simulator.errors import RequestRefused

TOKEN_BYTES: Final = 4
CORPUS_TOKENS: Final = 1 << 16
WORDS: Final = (
    "the and for are but not you all any can had her was one our out day get has him his how man "
    "now old see two way who boy did its let put say she too use air ask big box car cut dog eat "
    "end far few fly got hot ice job key law lay low map may new off oil own pay red run sea set "
    "sit six sky son sun ten top try war yes"
)
"""Three letters each: with the space before it, a word is one token."""


class Language:
    """Make text, and answer prompts; cheap to ask, built once per process."""

    def __init__(self) -> None:
        words = Random(0).choices(WORDS.split(), k=CORPUS_TOKENS)
        self._words = [" " + word for word in words]
        self._text = "".join(self._words)

    def passage(self, start: int, tokens: int) -> str:
        """Give ``tokens`` tokens of text; the same start always gives the same text.

        Fewer than none are none.

        >>> language = Language()
        >>> text = language.passage(7, 500)
        >>> len(text), text.startswith(language.passage(7, 20))
        (2000, True)
        """
        first = start % CORPUS_TOKENS
        repeats, last = divmod(first + max(tokens, 0), CORPUS_TOKENS)
        if not repeats:
            return self._text[first * TOKEN_BYTES : last * TOKEN_BYTES]
        whole = self._text * (repeats - 1)
        return self._text[first * TOKEN_BYTES :] + whole + self._text[: last * TOKEN_BYTES]

    def answer(self, prompt: bytes, tokens: int) -> str:
        """Give the model's answer to a tokenised prompt, cut after ``tokens`` tokens."""
        return self.passage(xxh3_64_intdigest(prompt), tokens)


def tokenize(text: str) -> bytes:
    r"""Give a text's tokens, four bytes each; the last one is filled up with NUL.

    >>> tokenize("hello")
    b'hello\x00\x00\x00'
    """
    return _filled(text.encode("utf-8", "surrogatepass"))


def tokenize_chat(messages: Iterable[tuple[str, str]]) -> bytes:
    """Apply the chat template to ``(role, content)`` messages, ready for the answer.

    >>> first = tokenize_chat([("user", "Hi")])
    >>> second = tokenize_chat([("user", "Hi"), ("assistant", " yes"), ("user", "Why?")])
    >>> second.startswith(first + tokenize(" yes"))
    True
    """
    pieces: list[bytes] = []
    for role, content in messages:
        pieces += (_header(role), tokenize(content), tokenize("<|im_end|>\n"))
    return b"".join((*pieces, _header("assistant")))


def token_ids(tokens: bytes) -> list[int]:
    """Give tokens as numbers.

    >>> token_ids(b"the end.")
    [543516788, 778333797]
    """
    return array("I", tokens).tolist()


def from_ids(ids: Sequence[int]) -> bytes:
    """Give the tokens of numbers, the inverse of :func:`token_ids`.

    Raises:
        RequestRefused: A number is no token.
    """
    try:
        return array("I", ids).tobytes()
    except (OverflowError, TypeError) as error:
        raise RequestRefused("token ids must lie in 0 .. 2**32 - 1", param="prompt") from error


def detokenize(tokens: bytes) -> str:
    """Give the text of tokens; bytes that are no UTF-8 become U+FFFD."""
    return tokens.replace(b"\0", b"").decode("utf-8", "replace")


def chain_hashes(tokens: bytes, block_size: int, salt: str | None = None) -> list[int]:
    """Hash each full block of tokens together with everything before it.

    Args:
        tokens: Four bytes each.
        block_size: Tokens per block.
        salt: Keeps prompts apart that do not share it, ``None`` for none.

    >>> same, other = chain_hashes(b"a" * 64 + b"b" * 64, 16), chain_hashes(b"a" * 67, 16)
    >>> len(same), same[:1] == other
    (2, True)
    """
    width = block_size * TOKEN_BYTES
    hashes = []
    parent = xxh3_64_intdigest(salt.encode()) if salt else 0
    for start in range(0, len(tokens) - width + 1, width):
        parent = xxh3_64_intdigest(tokens[start : start + width], parent)
        hashes.append(parent)
    return hashes


def _header(role: str) -> bytes:
    return tokenize(f"<|im_start|>{role}\n")


def _filled(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % TOKEN_BYTES)
