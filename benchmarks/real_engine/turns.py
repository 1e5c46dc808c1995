"""Routers in turns before the same two servers: who comes when, and what one turn is.

A turn begins with both servers' prefix caches empty and the router freshly started, so that
no router finds what an earlier one left; within a round all get the same warm-up and requests
of the same lengths at the same times. Only the router whose turn it is runs: an idle one that
scrapes would cost the others CPU.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import httpx
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.real_engine import routers
from benchmarks.real_engine.client import DATASETS, Client, Measured, Traffic
from foretoken.errors import DemoFailed
from foretoken.vllm_cpu import VllmServer
from foretoken.vllm_traffic import conversations, send

SEED: Final = 5
HTTP_S: Final = 30.0
RESET_TRIES: Final = 40
RESET_WAIT_S: Final = 0.25
"""A server whose last requests were cut off frees their blocks within a few steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Say how much is played.

    Attributes:
        names: The routers, in the order of the first round.
        rounds: How often each has its turn.
        requests: Of each dataset in a turn.
        rate: Requests per second.
        warmup: Chat requests before them that are not measured.
    """

    names: tuple[str, ...]
    rounds: int
    requests: int
    rate: float
    warmup: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Hold one server's counters: requests ended well, prompt tokens asked for and found."""

    requests: float
    prompt_tokens: float
    cached_tokens: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Hold what one router did with one dataset in one round.

    Attributes:
        round: Counted from 0.
        place: Which turn of the round it was, from 0.
        reason: Why nothing was measured, ``None`` where it was.
        warmup_errors: Warm-up requests that failed.
        fast_ratio: Share of requests served by the faster server.
        hit_ratio: Share of prompt tokens found in the prefix cache that served them.
        reasons: How often Foretoken gave each reason for a decision: ``cold`` says that its
            fallback decided, not its predictions. The client's test prompt and its calls of
            ``/tokenize`` are among them. ``None`` for foreign routers.
    """

    round: int
    place: int
    router: str
    dataset: str
    reason: str | None = None
    measured: Measured | None = None
    warmup_errors: int | None = None
    fast_ratio: float | None = None
    hit_ratio: float | None = None
    reasons: Mapping[str, int] | None = None


def order(names: Sequence[str], turn: int) -> tuple[str, ...]:
    """Rotate who comes first, so that over the rounds no one always follows a quiet moment.

    >>> order(("a", "b", "c"), 0), order(("a", "b", "c"), 4)
    (('a', 'b', 'c'), ('b', 'c', 'a'))
    """
    first = turn % len(names)
    return (*names[first:], *names[:first])


async def play(
    plan: Plan, servers: tuple[VllmServer, VllmServer], unusable: Mapping[str, str]
) -> AsyncIterator[Turn]:
    """Play all rounds, a turn at a time.

    Args:
        plan: How much.
        servers: The faster and the slower one.
        unusable: Why routers could not be installed; their turns say so.

    Raises:
        DemoFailed: A vLLM server is gone.
    """
    async with Client() as client:
        for number in range(plan.rounds):
            for place, name in enumerate(order(plan.names, number)):
                if name in unusable:
                    turns = _nothing(number, place, name, unusable[name])
                else:
                    await _empty_caches(servers)
                    turns = await _turns(client, plan, servers, (number, place, name))
                for turn in turns:
                    yield turn


async def _turns(
    client: Client,
    plan: Plan,
    servers: tuple[VllmServer, VllmServer],
    which: tuple[int, int, str],
) -> list[Turn]:
    """Start the router, warm it up and play each dataset; what fails is a reason."""
    number, place, name = which
    done: list[Turn] = []
    try:
        async with routers.running(name, servers) as url:
            warm = await send(url, conversations(plan.warmup, Random(SEED + number)))
            for dataset in DATASETS:
                before, reasons = await _counters(servers), await _reasons(name, url)
                traffic = Traffic(
                    dataset=dataset, requests=plan.requests, rate=plan.rate, seed=SEED + number
                )
                measured = await client.play(url, traffic)
                fast_ratio, hit_ratio = shares(before, await _counters(servers))
                turn = Turn(
                    round=number,
                    place=place,
                    router=name,
                    dataset=dataset,
                    measured=measured,
                    warmup_errors=len(warm.errors),
                    fast_ratio=fast_ratio,
                    hit_ratio=hit_ratio,
                    reasons=since(reasons, await _reasons(name, url)),
                )
                done.append(turn)
    except DemoFailed as error:
        reason = " ".join(str(error).split())[-400:]
        done += _nothing(number, place, name, reason)[len(done) :]
    return done


def _nothing(number: int, place: int, name: str, reason: str) -> list[Turn]:
    return [
        Turn(round=number, place=place, router=name, dataset=dataset, reason=reason)
        for dataset in DATASETS
    ]


async def _reasons(name: str, url: str) -> Counter[str] | None:
    if routers.ROUTERS[name].package is not None:
        return None
    async with httpx.AsyncClient(timeout=HTTP_S) as http:
        return read_reasons((await _reached(name, http.get(f"{url}/metrics"))).text)


async def _empty_caches(servers: Sequence[VllmServer]) -> None:
    async with httpx.AsyncClient(timeout=HTTP_S) as http:
        for server in servers:
            for _ in range(RESET_TRIES):
                answer = await _reached(server.name, http.post(f"{server.url}/reset_prefix_cache"))
                if answer.json()["success"]:
                    break
                await asyncio.sleep(RESET_WAIT_S)
            else:
                raise DemoFailed(f"the prefix cache of {server.name} is in use for good")


async def _counters(servers: Sequence[VllmServer]) -> list[Counters]:
    async with httpx.AsyncClient(timeout=HTTP_S) as http:
        pages = [
            await _reached(server.name, http.get(f"{server.url}/metrics")) for server in servers
        ]
    return [read_counters(page.text) for page in pages]


async def _reached(name: str, asked: Awaitable[httpx.Response]) -> httpx.Response:
    try:
        return (await asked).raise_for_status()
    except httpx.HTTPError as error:
        raise DemoFailed(f"{name} does not answer: {error!r}") from error


def read_counters(page: str) -> Counters:
    """Read a server's ``/metrics``; a counter that is not there counts 0 over a run.

    >>> page = '''# TYPE vllm:prefix_cache_hits counter
    ... vllm:prefix_cache_hits_total{engine="0"} 3.0
    ... # TYPE vllm:request_success counter
    ... vllm:request_success_total{finished_reason="stop"} 1.0
    ... vllm:request_success_total{finished_reason="length"} 2.0
    ... '''
    >>> read_counters(page)
    Counters(requests=3.0, prompt_tokens=0.0, cached_tokens=3.0)
    """
    sums = dict.fromkeys(
        ("vllm:request_success", "vllm:prefix_cache_queries", "vllm:prefix_cache_hits"), 0.0
    )
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.name.removesuffix("_total")
            if name in sums:
                sums[name] += sample.value
    requests, prompt_tokens, cached_tokens = sums.values()
    return Counters(requests=requests, prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)


def read_reasons(page: str) -> Counter[str]:
    """Count the decisions on Foretoken's ``/metrics`` by their reason.

    >>> page = '''# TYPE foretoken_requests counter
    ... foretoken_requests_total{outcome="completed",reason="cold"} 3.0
    ... foretoken_requests_total{outcome="aborted",reason="cold"} 1.0
    ... '''
    >>> read_reasons(page)
    Counter({'cold': 4})
    """
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name == "foretoken_requests_total":
                counts[sample.labels["reason"]] += int(sample.value)
    return counts


def since(before: Counter[str] | None, after: Counter[str] | None) -> dict[str, int] | None:
    """Subtract what was counted before; ``None`` where nobody counts.

    >>> since(Counter(cold=4), Counter(cold=4, policy=2))
    {'policy': 2}
    """
    return None if before is None or after is None else dict(after - before)


def shares(
    before: Sequence[Counters], after: Sequence[Counters]
) -> tuple[float | None, float | None]:
    """Give the first server's share of requests and the share of prompt tokens found cached.

    >>> none = Counters(requests=0, prompt_tokens=0, cached_tokens=0)
    >>> fast = Counters(requests=3, prompt_tokens=80, cached_tokens=20)
    >>> slow = Counters(requests=1, prompt_tokens=20, cached_tokens=20)
    >>> shares([none, none], [fast, slow]), shares([none], [none])
    ((0.75, 0.4), (None, None))
    """
    pairs = list(zip(before, after, strict=True))
    requests = [new.requests - old.requests for old, new in pairs]
    asked = sum(new.prompt_tokens - old.prompt_tokens for old, new in pairs)
    found = sum(new.cached_tokens - old.cached_tokens for old, new in pairs)
    fast_ratio = requests[0] / sum(requests) if sum(requests) else None
    return fast_ratio, found / asked if asked else None
