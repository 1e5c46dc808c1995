"""A scraper of an endpoint that answers as it is told, on a clock that is moved by sleeping."""

import asyncio
import json
from collections.abc import Callable

import httpx

from collectors.errors import ScrapeFailed, ScrapeFailure
from collectors.scraper import Scraper
from collectors.settings import EndpointSettings, ScrapeSettings
from predictor.types import EndpointState

PAGE = b'vllm:num_requests_running{engine="0"} 3.0\nvllm:num_requests_waiting{engine="0"} 0.0\n'
CARDS = {
    "object": "list",
    "data": [
        {
            "id": "base",
            "object": "model",
            "root": "/models/base",
            "parent": None,
            "max_model_len": 4096,
        },
        {"id": "alias", "object": "model", "root": "/models/base", "parent": None},
        {"id": "lora", "object": "model", "root": "/loras/x", "parent": "base"},
    ],
}


class FakeEndpoint:
    """Answer as a vLLM server would, or not."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, tuple[int, bytes] | Exception] = {
            "/metrics": (200, PAGE),
            "/v1/models": (200, json.dumps(CARDS).encode()),
            "/health": (200, b""),
            "/version": (200, b'{"version": "0.32.0"}'),
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        answer = self.answers[request.url.path]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer[0], content=answer[1])

    def die(self) -> None:
        self.answers = dict.fromkeys(self.answers, httpx.ConnectError("refused"))


class FakePages:
    """Read what the fake endpoint answers, without a connection."""

    def __init__(self, fake: FakeEndpoint) -> None:
        self.fake = fake
        self.forgotten: list[str] = []
        self.closed = 0

    async def read(self, base_url: str, api_key: str | None = None) -> bytes:
        self.fake.asked.append("/metrics")
        match self.fake.answers["/metrics"]:
            case 200, body:
                return body
            case httpx.ConnectError():
                raise ScrapeFailed(base_url, "refused")
            case _:
                raise ScrapeFailed(base_url, "status")

    def forget(self, base_url: str) -> None:
        self.forgotten.append(base_url)

    def close(self) -> None:
        self.closed += 1


class Counts:
    def __init__(self) -> None:
        self.pages: list[str] = []
        self.failures: list[tuple[str, ScrapeFailure]] = []

    def scraped(self, endpoint: str, seconds: float) -> None:
        self.pages.append(endpoint)

    def failed(self, endpoint: str, reason: ScrapeFailure) -> None:
        self.failures.append((endpoint, reason))


class Bench:
    """Hold a scraper of one fake endpoint and all it told."""

    def __init__(self, **settings: float) -> None:
        self.fake = FakeEndpoint()
        self.pages = FakePages(self.fake)
        self.counts = Counts()
        self.now = 100.0
        self.told: list[tuple[EndpointState, ...]] = []
        self.slept: list[float] = []
        self.waits: set[tuple[float, float, float]] = set()  # as they were asked for
        self.on_states: Callable[[tuple[EndpointState, ...]], None] = self.told.append
        self.scraper = Scraper(
            [EndpointSettings(url="http://a:1")],
            ScrapeSettings.model_validate(settings),
            client=httpx.AsyncClient(transport=httpx.MockTransport(self.fake)),
            pages=self.pages,
            clock=lambda: self.now,
            on_states=self.tell,
            counts=self.counts,
            in_step=self.in_step,
        )

    def tell(self, states: tuple[EndpointState, ...]) -> None:
        self.on_states(states)

    async def in_step(
        self, interval_s: float, *, phase_s: float = 0.0, least_s: float = 0.0
    ) -> None:
        self.slept.append(interval_s)
        self.waits.add((interval_s, phase_s, least_s))
        self.now += interval_s
        await asyncio.sleep(0)

    def poll(self, rounds: int = 1) -> EndpointState:
        async def rounds_() -> None:
            for _ in range(rounds):
                await self.scraper.poll("a:1")

        asyncio.run(rounds_())
        return self.scraper.states[0]

    def run_until(self, enough: Callable[[], bool], *then: Callable[[], None]) -> None:
        """Run the scraper until a fact holds, at most 10 000 turns of the loop."""

        async def main() -> None:
            task = asyncio.create_task(self.scraper.run())
            for _ in range(10_000):
                if enough():
                    break
                await asyncio.sleep(0)
            for step in then:
                step()
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(main())
        assert enough()
