"""What a client may ask of the HTTP face, read from JSON into what the engine runs.

Decides which fields count, their defaults and bounds, and how long an answer gets.
Fields not named here are accepted and ignored, as vLLM does.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import msgspec
from xxhash import xxh3_64_intdigest

from simulator.errors import RequestRefused
from simulator.language import TOKEN_BYTES, from_ids, tokenize, tokenize_chat
from simulator.settings import EndpointSettings

COMPLETION_MAX_TOKENS = 16
"""Default of ``/v1/completions``, as in OpenAI's and vLLM's API."""


class StreamOptions(msgspec.Struct):
    """Options of a streamed response."""

    include_usage: bool | None = False


class ContentPart(msgspec.Struct):
    """One part of a message's content; only its text counts."""

    text: str | None = None


class Message(msgspec.Struct):
    """One message of a chat."""

    role: str
    content: str | list[ContentPart] | None = None

    def text(self) -> str:
        """Give the content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text or "" for part in self.content)
        return self.content or ""


class Body(msgspec.Struct, kw_only=True):
    """The fields chat and text completions share."""

    model: str | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    ignore_eos: bool = False
    priority: int = 0
    n: int | None = 1
    cache_salt: str | None = None

    @property
    def include_usage(self) -> bool:
        """Tell whether the stream ends with a usage chunk."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)


class ChatBody(Body, kw_only=True):
    """Body of ``/v1/chat/completions``."""

    messages: list[Message]
    max_completion_tokens: int | None = None

    def prompt_tokens(self) -> bytes:
        """Give the prompt's tokens, the chat template applied."""
        return tokenize_chat((message.role, message.text()) for message in self.messages)

    def bound(self) -> int | None:
        """Give the client's bound on output tokens."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionBody(Body, kw_only=True):
    """Body of ``/v1/completions``: one text, or one list of token ids."""

    prompt: str | list[int]

    def prompt_tokens(self) -> bytes:
        """Give the prompt's tokens."""
        return tokenize(self.prompt) if isinstance(self.prompt, str) else from_ids(self.prompt)

    def bound(self) -> int | None:
        """Give the client's bound on output tokens."""
        return COMPLETION_MAX_TOKENS if self.max_tokens is None else self.max_tokens


class TokenizeBody(msgspec.Struct, kw_only=True):
    """Body of ``/tokenize``."""

    prompt: str | None = None
    messages: list[Message] | None = None


class DetokenizeBody(msgspec.Struct, kw_only=True):
    """Body of ``/detokenize``."""

    tokens: list[int]


Struct = TypeVar("Struct", bound=msgspec.Struct)


def read(body: bytes, kind: type[Struct]) -> Struct:
    """Parse a request body.

    Raises:
        RequestRefused: It is no JSON, or a field is missing or of the wrong type.

    >>> read(b'{"prompt": "Once", "max_tokens": 3}', CompletionBody).bound()
    3
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefused(str(error), param="body", kind="Bad Request") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A request ready to run.

    Attributes:
        prompt: Tokens of the prompt, four bytes each.
        output_tokens: Length of the answer.
        finish_reason: Why it ends there.
        priority: Smaller is served first.
        salt: Cache salt, ``None`` for none.
    """

    prompt: bytes
    output_tokens: int
    finish_reason: str
    priority: int
    salt: str | None

    @property
    def prompt_tokens(self) -> int:
        """Count the tokens of the prompt."""
        return len(self.prompt) // TOKEN_BYTES


def plan(
    body: ChatBody | CompletionBody,
    headers: Mapping[str, str],
    settings: EndpointSettings,
    max_model_len: int,
) -> Job:
    """Decide the length of the answer and check it all against the model's limits.

    ``x-sim-output-tokens`` sets the length the model would stop at; without it, it is
    drawn from the prompt and the seed, so it does not depend on what came before.
    ``ignore_eos`` makes the model go on to its bound.

    Raises:
        RequestRefused: Prompt and output do not fit, or a value is out of bounds.
    """
    if body.n not in {None, 1}:
        raise RequestRefused("a simulated endpoint answers once: n must be 1", param="n")
    prompt = body.prompt_tokens()
    bound = _bound(len(prompt) // TOKEN_BYTES, body.bound(), max_model_len)
    wanted = _header(headers, "x-sim-output-tokens", smallest=1)
    if wanted is None:
        wanted = bound if body.ignore_eos else _drawn(prompt, settings)
    priority = _header(headers, "x-vllm-priority")
    return Job(
        prompt=prompt,
        output_tokens=min(wanted, bound),
        finish_reason="stop" if wanted < bound else "length",
        priority=body.priority if priority is None else priority,
        salt=body.cache_salt or None,
    )


def _bound(prompt_tokens: int, asked: int | None, max_model_len: int) -> int:
    if prompt_tokens == 0:
        raise RequestRefused("the prompt is empty", param="prompt")
    if asked is not None and asked < 1:
        raise RequestRefused(f"max_tokens must be at least 1, got {asked}.", param="max_tokens")
    room = max_model_len - prompt_tokens
    if room < 1 or (asked or 0) > room:
        total = f"{prompt_tokens} in the prompt and {asked or 1} to generate"
        raise RequestRefused(
            f"This model's maximum context length is {max_model_len} tokens. "
            f"However, you requested {total}. Please request fewer tokens.",
            param="max_tokens" if room > 0 else "input_tokens",
        )
    return room if asked is None else asked


def _drawn(prompt: bytes, settings: EndpointSettings) -> int:
    rng = Random(xxh3_64_intdigest(prompt, settings.seed % 2**64))
    median = math.log(settings.output_tokens_median)
    return max(1, round(rng.lognormvariate(median, settings.output_tokens_sigma)))


def _header(headers: Mapping[str, str], name: str, *, smallest: int | None = None) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    try:
        value = int(text)
    except ValueError as error:
        raise RequestRefused(f"{name} must be a number, got {text!r}", param=name) from error
    if smallest is not None and value < smallest:
        raise RequestRefused(f"{name} must be at least {smallest}, got {value}", param=name)
    return value
