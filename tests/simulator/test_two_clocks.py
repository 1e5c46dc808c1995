import asyncio
import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from simulator.engine import Engine
from simulator.language import Language, chain_hashes, tokenize_chat
from simulator.playback import play
from simulator.profiles import profile
from simulator.server import SimulatedEndpoint, create_app
from simulator.settings import EndpointSettings
from simulator.types import Completion, SimRequest
from simulator.workload import Arrival, conversations

PROFILE = "h100_sxm/qwen3-32b"
# Both clocks add the same small numbers to start times that differ: the last bits may too.
CLOCK_S = 1e-6


@dataclass
class Client:
    """Sends one request over ASGI and notes when the parts of its answer come."""

    arrival: Arrival
    sent_s: float = 0.0
    parts: list[tuple[float, bytes]] = field(default_factory=list)
    asked: bool = False

    async def run(self, endpoint: SimulatedEndpoint, start_s: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(start_s + self.arrival.at_s - loop.time())
        self.sent_s = loop.time()
        tokens = str(self.arrival.output_tokens).encode()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "headers": [(b"x-sim-output-tokens", tokens)],
        }
        await endpoint(scope, self._receive, self._send)

    @property
    def ttft_s(self) -> float:
        return self.parts[0][0] - self.sent_s

    @property
    def e2e_s(self) -> float:
        return self.parts[-1][0] - self.sent_s

    @property
    def usage(self) -> dict[str, Any]:
        chunk = self.parts[-1][1].split(b"\n\n")[-3]
        usage: dict[str, Any] = json.loads(chunk.removeprefix(b"data: "))["usage"]
        return usage

    async def _receive(self) -> dict[str, Any]:
        if self.asked:
            await asyncio.Event().wait()
        self.asked = True
        messages = [{"role": role, "content": text} for role, text in self.arrival.messages]
        body = {"messages": messages, "stream": True, "stream_options": {"include_usage": True}}
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.parts.append((asyncio.get_running_loop().time(), message["body"]))


async def _by_http(settings: EndpointSettings, arrivals: list[Arrival]) -> list[Client]:
    endpoint = create_app(settings)
    clients = [Client(arrival) for arrival in arrivals]
    start_s = asyncio.get_running_loop().time()
    async with endpoint.running():
        await asyncio.gather(*(client.run(endpoint, start_s) for client in clients))
    return clients


def _in_virtual_time(settings: EndpointSettings, clients: list[Client]) -> list[Completion]:
    language = Language()
    engine = Engine(profile(settings.profile), settings, Random(settings.seed))
    requests = []
    for number, client in enumerate(clients):
        arrival, prompt = client.arrival, tokenize_chat(client.arrival.messages)
        answer = language.answer(prompt, arrival.output_tokens).encode()
        request = SimRequest(
            request_id=str(number),
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            block_hashes=chain_hashes(prompt + answer, settings.block_size),
        )
        requests.append((client.sent_s, request))
    done = play(engine, requests)
    return [done[str(number)] for number in range(len(clients))]


@pytest.mark.parametrize(
    ("rate", "knobs"),
    [
        pytest.param(3.0, {}, id="modest load"),
        pytest.param(8.0, {"kv_tokens": 20_000}, id="overload and preemption"),
        pytest.param(
            3.0, {"kv_tokens": 20_000, "cpu_tier_tokens": 200_000}, id="a tier in CPU memory"
        ),
        pytest.param(5.0, {"max_num_seqs": 4}, id="a queue"),
    ],
)
def test_the_http_face_and_virtual_time_give_every_request_the_same_times(
    run: Any, rate: float, knobs: dict[str, int]
) -> None:
    settings = EndpointSettings.model_validate({"profile": PROFILE, "seed": 3} | knobs)
    arrivals = conversations(5, 20.0, rate)

    clients = run(_by_http(settings, arrivals))
    completions = _in_virtual_time(settings, clients)

    assert len(clients) > 30
    for client, completion in zip(clients, completions, strict=True):
        assert client.ttft_s == pytest.approx(completion.ttft_s, abs=CLOCK_S)
        assert client.e2e_s == pytest.approx(completion.e2e_s, abs=CLOCK_S)
        cached_tokens = client.usage["prompt_tokens_details"]["cached_tokens"]
        assert cached_tokens == completion.cached_tokens
