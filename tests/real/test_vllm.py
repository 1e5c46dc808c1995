"""The proxy in front of two real vLLM servers, seen by the clients people use."""

import asyncio
import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from foretoken.vllm_cpu import SCRIPT, VllmServer
from tests.real.metrics_page import sample

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]  # the first one may install vLLM

Pair = tuple[VllmServer, VllmServer]

LONG_ANSWER = 6000
"""Output tokens that take many seconds even on the faster server: no test waits for them."""

_serial = itertools.count()


def fresh_text(words: int) -> str:
    """Make a prompt no cache has seen."""
    return f"request {next(_serial)} at {time.time_ns()}: " + "return value index " * (words // 3)


def chat(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


def until(condition: Callable[[], bool], within_s: float) -> None:
    """Poll another process's state; the servers are real, so there is no clock to turn."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def running(servers: Pair) -> float:
    return sum(sample(server.url, "vllm:num_requests_running") for server in servers)


def generated(servers: Pair) -> float:
    return sum(sample(server.url, "vllm:generation_tokens_total") for server in servers)


def test_a_chat_answer_says_who_served_it_and_what_was_predicted(
    client: openai.OpenAI, servers: Pair
) -> None:
    response = client.chat.completions.with_raw_response.create(
        model="tiny",
        messages=chat(fresh_text(60)),
        max_tokens=12,
        extra_body={"ignore_eos": True},
        extra_headers={"x-request-id": "abc-1"},
    )

    answer = response.parse()
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert response.headers["x-request-id"] == "abc-1"
    assert response.headers["x-foretoken-endpoint"] in {server.endpoint for server in servers}
    assert float(response.headers["x-foretoken-predicted-ttft-ms"]) >= 0
    assert float(response.headers["x-foretoken-predicted-tpot-ms"]) >= 0
    assert response.headers["x-foretoken-reason"]


def test_a_chat_stream_brings_every_token_and_the_usage_asked_for(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny",
        messages=chat(fresh_text(60)),
        max_tokens=40,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )

    chunks = list(stream)
    assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [40]
    assert chunks[-1].choices == []
    assert chunks[-2].choices[0].finish_reason == "length"
    assert len(chunks) > 4


def test_usage_is_not_shown_to_a_client_that_did_not_ask(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny", messages=chat("import os"), max_tokens=5, stream=True
    )

    chunks = list(stream)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


@pytest.mark.parametrize("stream", [False, True])
def test_completions_pass(client: openai.OpenAI, *, stream: bool) -> None:
    answer = client.completions.create(
        model="tiny",
        prompt=fresh_text(30),
        max_tokens=9,
        stream=stream,
        extra_body={"ignore_eos": True},
    )

    parts = list(answer) if stream else [answer]
    assert parts[-1].choices[0].finish_reason == "length"
    assert "".join(part.choices[0].text for part in parts)


def test_a_prompt_of_token_ids_is_counted_exactly(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="tiny", prompt=list(range(100, 177)), max_tokens=4, extra_body={"ignore_eos": True}
    )

    assert answer.usage is not None
    assert answer.usage.prompt_tokens == 77
    assert answer.usage.completion_tokens == 4


def cached_tokens(client: openai.OpenAI, prompt: str, **fields: object) -> int:
    answer = client.completions.create(model="tiny", prompt=prompt, max_tokens=2, extra_body=fields)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens_details is not None
    return answer.usage.prompt_tokens_details.cached_tokens or 0


def test_a_repeated_prompt_reports_cached_tokens(client: openai.OpenAI) -> None:
    prompt = fresh_text(300)

    # Three times on two endpoints: one of them sees it twice, whatever the policy.
    first, *later = [cached_tokens(client, prompt) for _ in range(3)]

    assert first == 0
    assert max(later) > 200


def test_an_unknown_model_is_404_in_openai_form(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(model="nobody", messages=chat("hello"))

    assert isinstance(raised.value.body, dict)
    assert "nobody" in raised.value.body["message"]
    assert raised.value.body["type"]


def test_an_error_of_the_endpoint_passes_as_it_is(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.completions.create(model="tiny", prompt=[5] * 9000, max_tokens=4)

    assert "8192" in raised.value.message


def test_models_are_listed_once(client: openai.OpenAI) -> None:
    models = client.models.list()

    assert [model.id for model in models] == ["tiny"]


def test_min_tokens_and_ignore_eos_reach_vllm(client: openai.OpenAI, servers: Pair) -> None:
    body = {"prompt": "<|im_end|>", "add_special_tokens": False}
    (eos,) = httpx.post(f"{servers[0].url}/tokenize", json=body).json()["tokens"]

    def tokens(**fields: object) -> int:
        answer = client.completions.create(
            model="tiny",
            prompt="import os",
            max_tokens=12,
            temperature=0,
            logit_bias={str(eos): 100},  # the model would end at once
            extra_body=fields,
        )
        assert answer.usage is not None
        return answer.usage.completion_tokens

    assert tokens() == 1
    assert tokens(ignore_eos=True) == 12
    assert tokens(min_tokens=5) == 6


def test_cache_salt_reaches_vllm(client: openai.OpenAI) -> None:
    prompt = fresh_text(300)
    salted = [cached_tokens(client, prompt, cache_salt="one") for _ in range(3)]

    others = [cached_tokens(client, prompt, cache_salt=salt) for salt in ("two", "three")]

    assert max(salted) > 200
    assert others == [0, 0]


def test_priority_reaches_vllm(proxy: str, servers: Pair) -> None:
    body = {"model": "tiny", "prompt": "import os", "max_tokens": 2, "priority": "no number"}

    direct = httpx.post(f"{servers[0].url}/v1/completions", json=body)
    proxied = httpx.post(f"{proxy}/v1/completions", json=body)

    assert direct.status_code == proxied.status_code == httpx.codes.BAD_REQUEST
    assert proxied.json() == direct.json()


def test_predicted_and_actual_are_both_on_the_metrics_page(
    client: openai.OpenAI, proxy: str
) -> None:
    list(
        client.chat.completions.create(
            model="tiny", messages=chat("import os"), max_tokens=5, stream=True
        )
    )

    until(lambda: sample(proxy, "foretoken_request_ttft_seconds_count") > 0, within_s=5)
    assert sample(proxy, "foretoken_request_predicted_ttft_seconds_count") > 0


def test_a_client_that_leaves_a_stream_aborts_it_upstream(
    client: openai.OpenAI, servers: Pair
) -> None:
    before = generated(servers)
    stream = client.chat.completions.create(
        model="tiny",
        messages=chat(fresh_text(30)),
        max_tokens=LONG_ANSWER,
        stream=True,
        extra_body={"ignore_eos": True},
    )
    next(iter(stream))
    until(lambda: running(servers) == 1, within_s=5)

    stream.close()

    until(lambda: running(servers) == 0, within_s=60)
    assert generated(servers) - before < LONG_ANSWER


def test_a_client_that_gives_up_waiting_aborts_it_upstream(proxy: str, servers: Pair) -> None:
    before = generated(servers)
    body = {
        "model": "tiny",
        "prompt": fresh_text(30),
        "max_tokens": LONG_ANSWER,
        "ignore_eos": True,
    }

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{proxy}/v1/completions", json=body, timeout=1.0)

    until(lambda: running(servers) == 0, within_s=60)
    assert 0 < generated(servers) - before < LONG_ANSWER


@pytest.mark.parametrize("dataset", ["random", "prefix_repetition"])
def test_vllm_bench_serve_completes_through_the_proxy(
    proxy: str, dataset: str, tmp_path: Path
) -> None:
    shape = {
        "random": ["--random-input-len", "200", "--random-output-len", "24"],
        "prefix_repetition": [
            *("--prefix-repetition-prefix-len", "256", "--prefix-repetition-suffix-len", "64"),
            *("--prefix-repetition-num-prefixes", "4", "--prefix-repetition-output-len", "24"),
        ],
    }
    command = [str(SCRIPT), "bench", proxy, "--dataset-name", dataset, *shape[dataset]]

    subprocess.run(
        [
            *command,
            *("--num-prompts", "40", "--request-rate", "10", "--max-concurrency", "8"),
            *("--save-result", "--result-dir", str(tmp_path), "--result-filename", "result.json"),
        ],
        check=True,
    )

    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["completed"], result["failed"]) == (40, 0)
    assert result["total_output_tokens"] == 40 * 24


@dataclass(slots=True, kw_only=True)
class Stream:
    """What one client saw of its stream."""

    endpoint: str | None = None
    chunks: int = 0
    complete: bool = False


async def follow(client: httpx.AsyncClient, seen: Stream, changed: asyncio.Event) -> None:
    body = {
        "model": "tiny",
        "prompt": fresh_text(900),
        "max_tokens": 150,
        "ignore_eos": True,
        "stream": True,
    }
    with contextlib.suppress(httpx.RemoteProtocolError):  # what a cut stream ends with
        async with client.stream("POST", "/v1/completions", json=body) as response:
            response.raise_for_status()
            seen.endpoint = response.headers["x-foretoken-endpoint"]
            async for line in response.aiter_lines():
                seen.chunks += line.startswith("data: {") and "error" not in json.loads(line[6:])
                seen.complete |= line == "data: [DONE]"
                changed.set()


async def murder_amid_streams(url: str, victim: VllmServer) -> list[Stream]:
    """Start many streams, kill the victim once two run on it, and see them all out."""
    streams = [Stream() for _ in range(32)]
    changed = asyncio.Event()
    async with httpx.AsyncClient(base_url=url, timeout=120) as client, asyncio.TaskGroup() as group:
        for seen in streams:
            group.create_task(follow(client, seen, changed))
        while sum(s.endpoint == victim.endpoint and s.chunks > 0 for s in streams) < 2:
            await changed.wait()
            changed.clear()
        victim.kill()
    return streams


def test_a_killed_server_costs_only_the_streams_begun_on_it_and_comes_back(
    proxy: str, servers: Pair
) -> None:
    victim, survivor = servers
    retries = sample(proxy, "foretoken_retries_total")

    streams = asyncio.run(murder_amid_streams(proxy, victim))

    cut = [seen for seen in streams if not seen.complete]
    assert cut
    assert all(seen.chunks > 0 and seen.endpoint == victim.endpoint for seen in cut)
    assert any(seen.endpoint == survivor.endpoint for seen in streams)
    assert sample(proxy, "foretoken_retries_total") > retries
    until(lambda: up(proxy, victim) == 0, within_s=30)
    assert up(proxy, survivor) == 1
    assert httpx.get(f"{proxy}/ready").status_code == httpx.codes.OK

    victim.stop()
    victim.start()
    victim.wait()

    until(lambda: up(proxy, victim) == 1, within_s=30)
    assert served_by(proxy, victim) == victim.endpoint


def up(proxy: str, server: VllmServer) -> float:
    return sample(proxy, "foretoken_endpoint_up", endpoint=server.endpoint)


def served_by(proxy: str, server: VllmServer) -> str:
    """Send one request that may go to this server only; say where it went."""
    response = httpx.post(
        f"{proxy}/v1/completions",
        json={"model": "tiny", "prompt": "import os", "max_tokens": 2},
        headers={"x-gateway-destination-endpoint-subset": server.endpoint},
    )
    response.raise_for_status()
    return str(response.headers["x-foretoken-endpoint"])
