"""The demos' client, against a scripted endpoint: what it times, reads and counts as failed."""

import json

import pytest

from foretoken.vllm_traffic import Conversation, Turn, send
from tests.fakes import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    STREAM_HEAD,
    FakeEndpoint,
    event,
    json_response,
    response,
    usage_event,
)

pytestmark = pytest.mark.anyio

STREAM = [STREAM_HEAD, event("good "), event("day"), usage_event(7, 2, 4), DONE, LAST_CHUNK]
WHOLE = json_response(
    {
        "choices": [{"message": {"content": "well"}}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1},
    },
    b"x-foretoken-endpoint: a:1",
    b"x-foretoken-predicted-ttft-ms: 12.5",
)


def talk(*streamed: bool) -> Conversation:
    turns = tuple(Turn(text="say", max_tokens=2, streamed=each) for each in streamed)
    return Conversation(system="be brief", turns=turns)


async def test_a_turn_follows_the_answer_before_it() -> None:
    async with FakeEndpoint(STREAM, [WHOLE]) as endpoint:
        traffic = await send(endpoint.url, [talk(True, False)])

        said = [message["content"] for message in json.loads(endpoint.seen[1].body)["messages"]]
        assert said == ["be brief", "say", "good day", "say"]
        assert traffic.errors == []


async def test_times_counts_and_predictions_are_read() -> None:
    async with FakeEndpoint(STREAM, [WHOLE]) as endpoint:
        traffic = await send(endpoint.url, [talk(True, False)])

        streamed, whole = traffic.answers
        assert (streamed.prompt_tokens, streamed.cached_tokens) == (7, 4)
        assert streamed.ttft_s is not None
        assert (whole.ttft_s, whole.prompt_tokens, whole.endpoint) == (None, 9, "a:1")
        assert whole.predicted_ttft_s == 0.0125


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ([response(b"", status=b"503 Busy")], "HTTP 503"),
        ([json_response({})], "no answer of a model"),
        ([STREAM_HEAD, event("good "), LAST_CHUNK], "the stream broke"),
        ([STREAM_HEAD, event("good "), CLOSE], "closed before the end"),
    ],
)
async def test_a_failure_ends_its_conversation_and_not_the_run(
    script: list[bytes], error: str
) -> None:
    async with FakeEndpoint(script, default=STREAM) as endpoint:
        traffic = await send(endpoint.url, [talk(True, True), talk(True)])

        assert len(traffic.errors) == 1
        assert error in traffic.errors[0]
        assert len(traffic.answers) == 1
