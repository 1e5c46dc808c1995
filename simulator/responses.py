"""The bytes a simulated endpoint answers with, in vLLM's shapes.

Decides the JSON of whole responses and of stream chunks. A chunk is put together
from prepared bytes: one is sent per token, so this is what an endpoint's CPU goes to.
Source: streams of vLLM 0.32.0. Texts come from :class:`Language`, whose letters and
spaces need no escaping in JSON.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, Final

from simulator.errors import RequestRefused
from simulator.types import Completion

DONE: Final = b"data: [DONE]\n\n"


class Shape:
    """What the responses of one request have in common, whichever endpoint it came by."""

    prefix: ClassVar[str]
    kind: ClassVar[str]
    chunk_kind: ClassVar[str]

    def __init__(self, name: str, model: str, created: int) -> None:
        self._id = f"{self.prefix}-{name}"
        self._origin = {"created": created, "model": model}
        chunk = compact({"id": self._id, "object": self.chunk_kind, **self._origin})
        self._head = b"data: " + chunk[:-1] + b',"choices":'

    def opening(self) -> bytes:
        """Give what goes out together with the first token, before it."""
        return b""

    def chunk(self, text: str) -> bytes:
        """Give a chunk with some tokens' text."""
        raise NotImplementedError

    def last(self, text: str, reason: str) -> bytes:
        """Give the last chunk with text, which has the finish reason."""
        raise NotImplementedError

    def usage(self, completion: Completion) -> bytes:
        """Give the usage chunk, which has no choices."""
        return self._head + b"[]," + compact(_facts(completion))[1:] + b"\n\n"

    def whole(self, text: str, completion: Completion) -> bytes:
        """Give a response that is not streamed."""
        choice = {
            "index": 0,
            **self._content(text),
            "logprobs": None,
            "finish_reason": completion.finish_reason,
            "stop_reason": None,
        }
        head = {"id": self._id, "object": self.kind, **self._origin}
        return compact({**head, "choices": [choice], **_facts(completion)})

    def _content(self, text: str) -> dict[str, object]:
        raise NotImplementedError


class ChatShape(Shape):
    """Responses of ``/v1/chat/completions``."""

    prefix = "chatcmpl"
    kind = "chat.completion"
    chunk_kind = "chat.completion.chunk"

    def opening(self) -> bytes:
        """Give the role chunk."""
        return (
            self._head + b'[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,'
            b'"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null}\n\n'
        )

    def chunk(self, text: str) -> bytes:
        """Give a chunk with some tokens' text."""
        return (
            b'%b[{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":null,'
            b'"token_ids":null}]}\n\n'
        ) % (self._head, text.encode())

    def last(self, text: str, reason: str) -> bytes:
        """Give the last chunk with text, which has the finish reason."""
        return (
            b'%b[{"index":0,"delta":{"content":"%b"},"logprobs":null,"finish_reason":"%b",'
            b'"stop_reason":null,"token_ids":null}]}\n\n'
        ) % (self._head, text.encode(), reason.encode())

    def _content(self, text: str) -> dict[str, object]:
        return {"message": {"role": "assistant", "content": text}}


class CompletionShape(Shape):
    """Responses of ``/v1/completions``, which have no role chunk."""

    prefix = "cmpl"
    kind = "text_completion"
    chunk_kind = "text_completion"

    def chunk(self, text: str) -> bytes:
        """Give a chunk with some tokens' text."""
        return self._choice(text, b"null")

    def last(self, text: str, reason: str) -> bytes:
        """Give the last chunk with text, which has the finish reason."""
        return self._choice(text, b'"%b"' % reason.encode())

    def _content(self, text: str) -> dict[str, object]:
        return {"text": text}

    def _choice(self, text: str, reason: bytes) -> bytes:
        return (
            b'%b[{"index":0,"text":"%b","logprobs":null,"finish_reason":%b,'
            b'"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]}\n\n'
        ) % (self._head, text.encode(), reason)


def error_body(error: RequestRefused) -> bytes:
    """Give vLLM's error body.

    >>> error_body(RequestRefused("no", param="n"))
    b'{"error":{"message":"no","type":"BadRequestError","param":"n","code":400}}'
    """
    return compact(
        {
            "error": {
                "message": str(error),
                "type": error.kind,
                "param": error.param,
                "code": error.status,
            }
        }
    )


def models_body(model: str, created: int, max_model_len: int) -> bytes:
    """Give the body of ``/v1/models``."""
    card = {
        "id": model,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": model,
        "parent": None,
        "max_model_len": max_model_len,
        "permission": [],
    }
    return compact({"object": "list", "data": [card]})


def compact(value: Mapping[str, object]) -> bytes:
    """Write JSON without white space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _facts(completion: Completion) -> dict[str, object]:
    """Give usage and per-request metrics, as with vLLM's ``--enable-per-request-metrics``."""
    inference_s = completion.e2e_s - completion.queued_s
    tpot_s = completion.tpot_s
    return {
        "usage": {
            "prompt_tokens": completion.prompt_tokens,
            "total_tokens": completion.prompt_tokens + completion.output_tokens,
            "completion_tokens": completion.output_tokens,
            "prompt_tokens_details": {"cached_tokens": completion.cached_tokens},
        },
        "metrics": {
            "time_to_first_token_ms": (completion.ttft_s - completion.queued_s) * 1e3,
            "generation_time_ms": (completion.e2e_s - completion.ttft_s) * 1e3,
            "queue_time_ms": completion.queued_s * 1e3,
            "mean_itl_ms": None if tpot_s is None else tpot_s * 1e3,
            "tokens_per_second": completion.output_tokens / max(inference_s, 1e-9),
        },
    }
