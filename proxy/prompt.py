"""What a prompt weighs and which prefix it has: bytes, tokens where exact, block hashes.

The text is what a chat template would put in order: tools, instructions, then role and
content of every message; so a later turn of a conversation extends the text of the one
before. What is not text counts by its bytes (tool calls) or by a hash of them (images,
audio). No text leaves this module but as hashes.
"""

from typing import Final

import msgspec
import numpy as np
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from predictor.types import BLOCK_BYTES
from predictor.values import Value
from proxy.prompt_parts import (
    Message,
    decode_items,
    decode_message,
    decode_messages,
    decode_part,
    decode_text,
    decode_tokens,
)

TOKEN_BYTES: Final = 4  # a token id stands for this many prompt bytes


class Prompt(Value):
    """Describe a prompt without its text.

    Attributes:
        size_bytes: UTF-8 bytes of the text; four per token of a token-id prompt.
        tokens: Exact number of tokens where the prompt came as ids, else ``None``.
        block_hashes: One per full block, each covering all before it.
    """

    size_bytes: int
    tokens: int | None
    block_hashes: tuple[int, ...]


def read_prompt(
    *,
    model: str,
    salt: str | None,
    tools: msgspec.Raw,
    instructions: msgspec.Raw,
    messages: msgspec.Raw,
    text: msgspec.Raw,
) -> Prompt:
    """Read the parts of a prompt, each raw JSON or empty.

    Args:
        model: The hash of the first block starts from it and from the salt.
        salt: Cache salt, ``None`` without one.
        tools: Tool definitions, as they are.
        instructions: Text, or a list of parts, that precedes the messages.
        messages: List of chat messages.
        text: Text, token ids, a list of either, or a list of messages.

    Raises:
        msgspec.ValidationError: A part has a shape no endpoint accepts either.
    """
    pieces = [bytes(tools)] if tools else []
    tokens = None
    if instructions:
        _add_texts(pieces, instructions)
    if messages:
        _add_messages(pieces, messages)
    if text:
        ids = _token_ids(text)
        if ids is None:
            _add_texts(pieces, text)
        else:
            tokens = len(ids) // TOKEN_BYTES
            pieces.append(ids)
    whole = b"".join(pieces)
    hashes: tuple[int, ...] = ()
    if len(whole) >= BLOCK_BYTES:
        hashes = chain_hashes(whole, xxh3_64_intdigest(f"{model}\0{salt or ''}".encode()))
    return Prompt(size_bytes=len(whole), tokens=tokens, block_hashes=hashes)


def chain_hashes(text: bytes, seed: int) -> tuple[int, ...]:
    """Hash every full block, each seeded with the hash of the one before.

    >>> first = chain_hashes(b"a" * 600, seed=1)
    >>> len(first), chain_hashes(b"a" * 512 + b"b" * 88, seed=1) == first
    (2, True)
    """
    hashes = []
    for start in range(0, len(text) - BLOCK_BYTES + 1, BLOCK_BYTES):
        seed = xxh3_64_intdigest(text[start : start + BLOCK_BYTES], seed)
        hashes.append(seed)
    return tuple(hashes)


def _token_ids(raw: msgspec.Raw) -> bytes | None:
    """Give a list of token ids, or of lists of them, as bytes; ``None`` for anything else."""
    start = bytes(memoryview(raw)[:64]).translate(None, b" \t\r\n")
    if start[:1] == b"[" and start[1:2].isdigit():
        return np.array(decode_tokens(raw), dtype="<u4").tobytes()
    if start[:2] == b"[[":
        return b"".join(
            np.array(decode_tokens(item), dtype="<u4").tobytes() for item in decode_items(raw)
        )
    return None


def _add_texts(pieces: list[bytes], raw: msgspec.Raw) -> None:
    """Add a text, or every text and message of a list."""
    start = bytes(memoryview(raw)[:1])
    if start == b'"':
        pieces.append(decode_text(raw).encode())
    elif start == b"[":
        for item in decode_items(raw):
            if bytes(memoryview(item)[:1]) == b'"':
                pieces.append(decode_text(item).encode())
            else:
                _add_message(pieces, item)


def _add_messages(pieces: list[bytes], raw: msgspec.Raw) -> None:
    """Add a chat's messages: at once where they are plain, else each as it is."""
    try:
        messages = decode_messages(raw)
    except msgspec.ValidationError:
        messages = []
    if not messages or any(message.content is None for message in messages):
        _add_texts(pieces, raw)
        return
    for message in messages:
        _add_decoded(pieces, message)


def _add_message(pieces: list[bytes], raw: msgspec.Raw) -> None:
    message = decode_message(raw)
    if message.content is None:  # tool calls and their like: all of it is prompt
        pieces.append(bytes(raw))
    else:
        _add_decoded(pieces, message)


def _add_decoded(pieces: list[bytes], message: Message) -> None:
    content = message.content
    pieces.append(message.role.encode())
    if isinstance(content, str):
        pieces.append(content.encode())
    elif content is not None:
        pieces.extend(map(_part, content))
    if message.tool_calls:
        pieces.append(bytes(message.tool_calls))


def _part(raw: msgspec.Raw) -> bytes:
    if bytes(memoryview(raw)[:1]) == b'"':
        return decode_text(raw).encode()
    text = decode_part(raw).text
    return xxh3_64_digest(raw) if text is None else text.encode()
