"""The traffic of three tiers, and what goes wrong meanwhile, all of it at stated times.

Beside conversations there are requests of every kind that a dashboard counts: wrong ones,
clients that leave, equal ones that the response cache answers. Times of incidents are
shares of the run, so that a short run has all of them. Called by the benchmark and the
test of the dashboards.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple
from zlib import crc32

import httpx

from benchmarks.watched.servers import MODEL, Watched
from foretoken.demo_client import Answer, ask, chat_request
from proxy import OutgoingRequest, Upstream
from simulator import Arrival, conversations

SEED: Final = 11
RATE: Final = 4.0  # requests a second
RUSH_RATE: Final = 16.0  # on top of it, for a while
MOST_OUTPUT: Final = 96  # tokens: half a dozen streams of each endpoint at a time
# A hang shorter than this is no hang to the scheduler (still_after_s, and a look).
HANG_S: Final = 8.0

CRASH: Final = (0.20, 0.15)  # from, for
RUSH: Final = (0.42, 0.08)
SLOW: Final = (0.64, 0.15)
HANG_AT: Final = 0.84
DRAIN: Final = (0.91, 0.02)  # all of them, so that requests have to wait
KILL_SWITCH: Final = (0.94, 0.03)

_TIERS: Final = ("interactive", "interactive", "standard", "standard", "batch")
_HOPELESS_MS: Final = "1"  # no endpoint answers within a millisecond


class Incident(NamedTuple):
    """Let something happen at a time.

    Attributes:
        at: Share of the run.
        what: In one word.
        begin: Does it.
    """

    at: float
    what: str
    begin: Callable[[], Awaitable[object]]


async def live_through(
    place: Watched, duration_s: float, say: Callable[[str], None] = lambda _: None
) -> list[Answer]:
    """Play all traffic and all incidents; give what clients of conversations got.

    Args:
        place: Where everything listens.
        duration_s: Of the traffic; answers take some seconds more.
        say: Told of each incident as it begins.
    """
    async with Upstream() as upstream, httpx.AsyncClient(timeout=60.0) as client:
        traffic = asyncio.create_task(_traffic(upstream, place.url, duration_s))
        sides = [
            asyncio.create_task(each)
            for each in (
                _repeat(2.0, lambda: _wrong(client, place.url)),
                _repeat(1.0, lambda: _again(client, place.url)),
                _repeat(3.0, lambda: _leave(upstream, place.url)),
                _repeat(2.0, lambda: _hopeless(client, place.url)),
            )
        ]
        try:
            await _incidents(client, place, duration_s, say)
            return await traffic
        finally:
            for task in (traffic, *sides):
                task.cancel()
            await asyncio.gather(traffic, *sides, return_exceptions=True)


async def _incidents(
    client: httpx.AsyncClient, place: Watched, duration_s: float, say: Callable[[str], None]
) -> None:
    def fault(endpoint: int, **fields: object) -> Callable[[], Awaitable[object]]:
        query = httpx.QueryParams({key: str(value) for key, value in fields.items()})
        return lambda: client.post(f"{place.endpoints[endpoint]}/sim/fault?{query}")

    def mode(name: str) -> Callable[[], Awaitable[object]]:
        return lambda: client.put(f"{place.url}/foretoken/mode", json={"mode": name})

    async def drain(verb: str) -> None:
        names = [endpoint.removeprefix("http://") for endpoint in place.endpoints]
        at = f"{place.url}/foretoken/endpoints"
        await asyncio.gather(*(client.post(f"{at}/{name}/{verb}") for name in names))

    crash_s, slow_s = CRASH[1] * duration_s, SLOW[1] * duration_s
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for at, what, begin in (
        Incident(CRASH[0], "endpoint 3 crashes", fault(3, kind="crash", seconds=crash_s)),
        Incident(RUSH[0], "rush", lambda: asyncio.sleep(0)),
        Incident(
            SLOW[0], "endpoint 0 slows down", fault(0, kind="slow_down", factor=3, seconds=slow_s)
        ),
        Incident(HANG_AT, "endpoint 1 hangs", fault(1, kind="hang", seconds=HANG_S)),
        Incident(DRAIN[0], "all are drained", lambda: drain("drain")),
        Incident(sum(DRAIN), "none is drained", lambda: drain("undrain")),
        Incident(KILL_SWITCH[0], "kill switch", mode("heuristic")),
        Incident(sum(KILL_SWITCH), "kill switch back", mode("predicted")),
    ):
        await asyncio.sleep(start_s + at * duration_s - loop.time())
        say(f"{at * duration_s:.0f} s: {what}")
        await begin()


async def _traffic(upstream: Upstream, url: str, duration_s: float) -> list[Answer]:
    """Send all conversations in an open loop."""
    arrivals = [(arrival.at_s, arrival) for arrival in conversations(SEED, duration_s, RATE)]
    rush_s = RUSH[0] * duration_s
    arrivals += [
        (rush_s + arrival.at_s, arrival)
        for arrival in conversations(SEED + 1, RUSH[1] * duration_s, RUSH_RATE)
    ]
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    tasks = []
    for at_s, arrival in sorted(arrivals, key=lambda each: each[0]):
        await asyncio.sleep(start_s + at_s - loop.time())
        tasks.append(asyncio.create_task(ask(upstream, url, _request(arrival))))
    return list(await asyncio.gather(*tasks))


def _request(arrival: Arrival) -> OutgoingRequest:
    tokens = min(arrival.output_tokens, MOST_OUTPUT)
    return chat_request(
        {
            "model": MODEL,
            "messages": [{"role": role, "content": text} for role, text in arrival.messages],
            "max_tokens": MOST_OUTPUT,
            "stream": True,
        },
        {
            "x-session-id": arrival.session_id,
            "x-slo-tier": _TIERS[crc32(arrival.session_id.encode()) % len(_TIERS)],
            "x-sim-output-tokens": str(tokens),
        },
    )


def _body(text: str, model: str = MODEL) -> dict[str, object]:
    message = {"role": "user", "content": text}
    return {"model": model, "messages": [message], "max_tokens": 16}


async def _repeat(every_s: float, act: Callable[[], Awaitable[object]]) -> None:
    while True:
        await act()
        await asyncio.sleep(every_s)


async def _wrong(client: httpx.AsyncClient, url: str) -> None:
    """Ask for a model that nobody serves, and with an objective that is no number."""
    path = f"{url}/v1/chat/completions"
    await client.post(path, json=_body("hello", model="nobody"))
    await client.post(path, json=_body("hello"), headers={"x-slo-ttft-ms": "soon"})


async def _again(client: httpx.AsyncClient, url: str) -> None:
    """Ask what was asked before."""
    path = f"{url}/v1/chat/completions"
    await client.post(path, json=_body("once more"), headers={"x-foretoken-cache": "on"})


async def _hopeless(client: httpx.AsyncClient, url: str) -> None:
    """Ask for what no endpoint can do, in a tier that may be refused."""
    headers = {"x-slo-tier": "batch", "x-slo-ttft-ms": _HOPELESS_MS}
    await client.post(f"{url}/v1/chat/completions", json=_body("at once"), headers=headers)


async def _leave(upstream: Upstream, url: str) -> None:
    """Ask, and leave before the answer is whole."""
    task = asyncio.create_task(
        ask(upstream, url, chat_request({**_body("wait"), "max_tokens": 200}))
    )
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
