"""Whom prompts are tokenized by, and which are not."""

import asyncio
import json
import threading
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from collectors import TokenizerUnusable, Tokens, TokenSettings
from collectors.tokens import Origin

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
MESSAGES = [{"role": "user", "content": "hi"}]


class Asked:
    """Tokens by a scripted endpoint."""

    def __init__(
        self,
        answer: Callable[[httpx.Request], httpx.Response] | None = None,
        endpoints: tuple[str, ...] = ("http://a:1", "http://b:1"),
        **settings: Any,
    ) -> None:
        self.questions: list[tuple[str, dict[str, Any]]] = []
        self.origins: list[Origin] = []
        self._answer = answer or (lambda _: httpx.Response(200, json={"tokens": [1, 2, 3]}))
        self._client = httpx.AsyncClient(transport=httpx.MockTransport(self._serve))
        self.tokens = Tokens(
            TokenSettings(**settings),
            client=self._client,
            endpoints=lambda _: endpoints,
            counts=self,
        )

    def tokenized(self, origin: Origin) -> None:
        self.origins.append(origin)

    def of(self, path: str, *bodies: dict[str, Any]) -> list[list[int] | None]:
        async def ask() -> list[bytes | None]:
            return [await self.tokens.of(path, json.dumps(body).encode()) for body in bodies]

        found = asyncio.run(ask())
        return [None if one is None else array("I", one).tolist() for one in found]

    def _serve(self, request: httpx.Request) -> httpx.Response:
        self.questions.append((str(request.url), json.loads(request.content)))
        return self._answer(request)


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "hi": 7, "you": 8}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_chat_is_tokenized_by_an_endpoint_with_all_its_template_sees() -> None:
    asked = Asked()
    body = {"model": "m", "messages": MESSAGES, "tools": [{"t": 1}], "temperature": 0.5}

    assert asked.of(CHAT, body) == [[1, 2, 3]]
    expected = {"model": "m", "messages": MESSAGES, "tools": [{"t": 1}]}
    assert asked.questions == [("http://a:1/tokenize", expected)]
    assert asked.origins == ["endpoint"]


def test_a_prompt_that_comes_again_is_not_asked_for_again() -> None:
    asked = Asked()
    body = {"model": "m", "messages": MESSAGES}

    asked.of(CHAT, body, {**body, "seed": 4}, {**body, "chat_template_kwargs": {"think": True}})

    assert asked.origins == ["endpoint", "cache", "endpoint"]


def test_short_prompts_count_for_what_keeping_them_takes() -> None:
    asked = Asked(cache_tokens=100)
    first, second = ({"model": "m", "prompt": text} for text in ("one", "two"))

    asked.of(TEXT, first, first, second, first)

    assert asked.origins == ["endpoint", "cache", "endpoint", "endpoint"]


def test_a_text_is_tokenized_by_a_file(tokenizer_file: Path) -> None:
    asked = Asked(files={"m": tokenizer_file}, timeout_s=10.0)

    found = asked.of(
        TEXT, {"model": "m", "prompt": "hi you"}, {"model": "m", "prompt": "hi " * 4000}
    )

    assert found == [[7, 8], [7] * 4000]
    assert asked.origins == ["file", "file"]


def test_token_ids_are_taken_as_they_are() -> None:
    asked = Asked()

    assert asked.of(TEXT, {"model": "m", "prompt": [5, 6]}) == [[5, 6]]
    assert asked.origins == ["request"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
        (CHAT, {"messages": "hi"}),
        (CHAT, {}),
        (CHAT, {"messages": MESSAGES, "prompt_logprobs": 1}),
        (TEXT, {"prompt": ["one", "two"]}),
        (TEXT, {"prompt": "hi", "truncate_prompt_tokens": 5}),
        ("/v1/embeddings", {"input": "hi"}),
    ],
)
def test_what_is_more_than_text_is_not_asked_for(path: str, body: dict[str, Any]) -> None:
    asked = Asked()

    assert asked.of(path, body) == [None]
    assert asked.questions == []
    assert asked.origins == ["not_text"]


def _breaks(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("gone")


async def _without_end() -> AsyncIterator[bytes]:
    while True:
        yield b'{"tokens": [' + b"7, " * 20_000


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(500),
        lambda _: httpx.Response(200, content=_without_end()),
        lambda _: httpx.Response(200, content=b'{"tokens": ' + b"[" * 5000),
        lambda _: httpx.Response(200, text="{"),
        lambda _: httpx.Response(200, json={"tokens": [-1]}),
        _breaks,
    ],
)
def test_without_an_answer_there_are_no_tokens(
    answer: Callable[[httpx.Request], httpx.Response],
) -> None:
    asked = Asked(answer)

    assert asked.of(TEXT, {"model": "m", "prompt": "hi"}) == [None]
    assert asked.origins == ["failed"]


def test_without_an_endpoint_there_are_no_tokens() -> None:
    asked = Asked(endpoints=())

    assert asked.of(TEXT, {"model": "m", "prompt": "hi"}) == [None]
    assert asked.origins == ["failed"]


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")

    with pytest.raises(TokenizerUnusable, match=r"tokenizer\.json"):
        Asked(files={"m": file})


@pytest.mark.parametrize("repeats", [1, 4000])  # at once, and in a thread
def test_a_text_its_tokenizer_fails_on_has_no_tokens(tmp_path: Path, repeats: int) -> None:
    file = tmp_path / "tokenizer.json"
    Tokenizer(models.WordLevel({"hi": 7}, unk_token="[UNK]")).save(str(file))
    asked = Asked(files={"m": file}, timeout_s=10.0)

    assert asked.of(TEXT, {"model": "m", "prompt": "you " * repeats}) == [None]
    assert asked.origins == ["failed"]


def test_texts_that_take_too_long_occupy_few_threads(tokenizer_file: Path) -> None:
    asked = Asked(files={"m": tokenizer_file}, timeout_s=0.05)
    begun, end = [], threading.Event()

    def encode(text: str) -> list[int]:
        begun.append(text)
        end.wait()
        return [1]

    asked.tokens._encode["m"] = encode
    bodies = [json.dumps({"model": "m", "prompt": f"{n} " * 4000}).encode() for n in range(4)]

    async def ask() -> list[bytes | None]:
        try:
            return [await asked.tokens.of(TEXT, body) for body in bodies]
        finally:
            end.set()

    assert asyncio.run(ask()) == [None] * 4
    assert asked.origins == ["failed"] * 4
    assert len(begun) == 2
