"""Turn prompts into the tokens an endpoint would see.

Decides whom to ask: a tokenizer file for plain text where one is configured, else an
endpoint's ``/tokenize``, which applies the chat template as the endpoint itself does. Only
prompts that are text alone, and only within a time limit: whoever asks goes on without
tokens rather than wait. Called by the relay before a request is placed, and only where
some endpoint's cache is known exactly.

Source: vLLM 0.32 ``entrypoints/serve/tokenize/protocol.py``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import httpx
import msgspec
from xxhash import xxh3_128_digest

from collectors.deadline import within
from collectors.errors import TextNotTokenized, TokenizerUnusable
from collectors.kv_events.decoding import packed
from collectors.settings import TokenSettings
from predictor.kv_cache import TOKEN_BYTES

Origin = Literal["request", "cache", "file", "endpoint", "failed", "not_text"]
"""Where tokens came from; ``failed``: nobody gave them in time; ``not_text``: not asked for."""

Encode = Callable[[str], Sequence[int]]

_Token = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_Fields = dict[str, msgspec.Raw]

# What decides about the tokens of a prompt, besides its text.
_CHAT: Final = (
    *("messages", "tools", "add_generation_prompt", "continue_final_message"),
    *("add_special_tokens", "chat_template", "chat_template_kwargs"),
)
_TEXT: Final = ("prompt", "add_special_tokens")
# These make an endpoint compute the whole prompt, or another one than ``/tokenize`` gives.
_NO_MATCH: Final = (
    *("prompt_embeds", "truncate_prompt_tokens", "prompt_logprobs"),
    *("documents", "reasoning_effort"),
)
_SMALL_BYTES: Final = 4096  # tokenized at once, in a few hundred microseconds; more in a thread
_ENTRY_BYTES: Final = 200  # key, object headers and a dictionary's share of an entry
_ANSWER_BYTES: Final = 16  # an answer has for each byte of a prompt, at most: a token takes 8
_ANSWER_ROOM: Final = 65_536  # and besides, for what a template adds
_THREADS: Final = 2  # at once: a text whose time is up is tokenized to its end all the same


class _Part(msgspec.Struct):
    type: str = "text"


class _Message(msgspec.Struct):
    content: str | list[str | _Part] | None = None


class _Answer(msgspec.Struct):
    tokens: list[_Token]


_decode_fields: Final = msgspec.json.Decoder(_Fields).decode
_decode_messages: Final = msgspec.json.Decoder(list[_Message]).decode
_decode_prompt: Final = msgspec.json.Decoder(str | list[_Token]).decode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_model: Final = msgspec.json.Decoder(str).decode


class TokenCounts(Protocol):
    """Count where tokens came from; the proxy turns it into metrics."""

    def tokenized(self, origin: Origin) -> None:
        """Count a prompt."""
        ...


class Tokens:
    """Tokenize prompts of requests.

    Args:
        settings: Files, limits.
        client: Asks endpoints; whoever opened it closes it.
        endpoints: Gives the base URLs of endpoints of a model, whom to ask first.
        counts: Told of every prompt.

    Raises:
        TokenizerUnusable: A configured file cannot be loaded.
    """

    def __init__(
        self,
        settings: TokenSettings,
        *,
        client: httpx.AsyncClient,
        endpoints: Callable[[str], Sequence[str]],
        counts: TokenCounts,
    ) -> None:
        self._settings = settings
        self._client = client
        self._endpoints = endpoints
        self._counts = counts
        self._encode = {model: load(path) for model, path in settings.files.items()}
        self._threads = asyncio.Semaphore(_THREADS)
        self._kept = _Kept(settings.cache_tokens * TOKEN_BYTES)

    async def of(self, path: str, payload: bytes) -> bytes | None:
        """Give the tokens of a request's prompt, four bytes each; ``None`` where unknown.

        Args:
            path: What is asked for.
            payload: The JSON body.
        """
        tokens, origin = await self._find(path, payload)
        self._counts.tokenized(origin)
        return tokens

    async def _find(self, path: str, payload: bytes) -> tuple[bytes | None, Origin]:
        chat = path == "/v1/chat/completions"
        if len(payload) > self._settings.max_prompt_bytes or not (
            chat or path == "/v1/completions"
        ):
            return None, "not_text"
        try:
            fields = _decode_fields(payload)
            prompt = _text_of(fields, chat=chat)
            model = _decode_model(fields.get("model", msgspec.Raw(b'""')))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None, "not_text"
        if prompt is None:
            return None, "not_text"
        if isinstance(prompt, list):
            return packed(prompt), "request"
        wanted = {name: fields[name] for name in (_CHAT if chat else _TEXT) if name in fields}
        question = msgspec.json.encode({"model": model, **wanted})
        key = xxh3_128_digest(question)
        tokens = self._kept.get(key)
        if tokens is not None:
            return tokens, "cache"
        encode = None if chat or len(wanted) > 1 else self._encode.get(model)
        if encode is None:
            tokens = await self._ask(model, question)
        else:
            tokens = await self._by_file(encode, prompt)
        if tokens is None:
            return None, "failed"
        self._kept.put(key, tokens)
        return tokens, "endpoint" if encode is None else "file"

    async def _ask(self, model: str, question: bytes) -> bytes | None:
        urls = self._endpoints(model)
        if not urls:
            return None
        try:
            body = await within(
                self._settings.timeout_s, partial(self._tokenize, urls[0], question)
            )
            return None if body is None else packed(_decode_answer(body).tokens)
        except (TimeoutError, httpx.HTTPError, msgspec.MsgspecError, ValueError, RecursionError):
            return None

    async def _tokenize(self, url: str, question: bytes) -> bytes | None:
        """Read an endpoint's answer, ``None`` where it is none or longer than it can be."""
        headers = {"content-type": "application/json"}
        asked = self._client.stream("POST", f"{url}/tokenize", content=question, headers=headers)
        async with asked as answer:
            if answer.status_code != httpx.codes.OK:
                return None
            return await _read_within(answer, _ANSWER_BYTES * len(question) + _ANSWER_ROOM)

    async def _by_file(self, encode: Encode, text: str) -> bytes | None:
        try:
            if len(text) <= _SMALL_BYTES:
                return packed(list(encode(text)))
            async with asyncio.timeout(self._settings.timeout_s):
                return packed(list(await self._in_thread(encode, text)))
        except (TimeoutError, TextNotTokenized):
            return None

    async def _in_thread(self, encode: Encode, text: str) -> Sequence[int]:
        """Tokenize beside the event loop; a thread counts until it ends, waited for or not."""
        await self._threads.acquire()
        job = asyncio.get_running_loop().run_in_executor(None, encode, text)
        job.add_done_callback(lambda _: self._threads.release())
        return await asyncio.shield(job)


class _Kept:
    """Keep the tokens of recent prompts within a bound of bytes, the last used ones."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._tokens: OrderedDict[bytes, bytes] = OrderedDict()

    def get(self, key: bytes) -> bytes | None:
        tokens = self._tokens.get(key)
        if tokens is not None:
            self._tokens.move_to_end(key)
        return tokens

    def put(self, key: bytes, tokens: bytes) -> None:
        before = self._tokens.pop(key, None)
        if before is not None:
            self._bytes -= _entry_bytes(before)
        self._tokens[key] = tokens
        self._bytes += _entry_bytes(tokens)
        while self._bytes > self._most_bytes:
            _, old = self._tokens.popitem(last=False)
            self._bytes -= _entry_bytes(old)


async def _read_within(answer: httpx.Response, most_bytes: int) -> bytes | None:
    """Read an answer, ``None`` where it is longer than it can be."""
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > most_bytes:
            return None
    return bytes(body)


def _entry_bytes(tokens: bytes) -> int:
    return len(tokens) + _ENTRY_BYTES


def load(path: Path) -> Encode:
    """Load a ``tokenizer.json``, or the one in a model's folder.

    Raises:
        TokenizerUnusable: It cannot be read, or the library that reads it is not installed.
    """
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415  # optional: extra "tokenizer"
    except ImportError as error:
        raise TokenizerUnusable(file, "needs `pip install foretoken[tokenizer]`") from error
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise TokenizerUnusable(file, str(error)) from error

    def encode(text: str) -> Sequence[int]:
        try:
            ids: list[int] = tokenizer.encode(text).ids
        except Exception as error:  # the library raises nothing narrower
            raise TextNotTokenized(f"{file}: {error}") from error
        return ids

    return encode


def _text_of(fields: Mapping[str, msgspec.Raw], *, chat: bool) -> str | list[int] | None:
    """Give a prompt's text or ids; an empty text for a chat, ``None`` if it is more than that."""
    if any(name in fields for name in _NO_MATCH):
        return None
    if not chat:
        prompt: str | list[int] = _decode_prompt(fields.get("prompt", msgspec.Raw(b"null")))
        return prompt
    messages = _decode_messages(fields.get("messages", msgspec.Raw(b"null")))
    parts = (part for one in messages if isinstance(one.content, list) for part in one.content)
    plain = all(isinstance(part, str) or part.type in {"text", "refusal"} for part in parts)
    return "" if plain else None
