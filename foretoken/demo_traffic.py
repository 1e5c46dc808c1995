"""Play a fixed workload against a server and time every answer, as a client sees it.

Open loop: each request goes out at its time whether or not others were answered.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from foretoken.demo_client import Answer, ask, chat_request
from proxy import OutgoingRequest, Upstream
from simulator import Arrival

# How often the event loop's own lateness is sampled.
LAG_SAMPLE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Hold a whole round.

    Attributes:
        answers: One per arrival, in their order; ``at_s`` is from the start of the round.
        loop_lag_s: How late this process's event loop was, sampled; high values mean that
            the machine, not the fleet, was slow.
    """

    answers: list[Answer]
    loop_lag_s: list[float]


async def play(
    url: str, model: str, arrivals: Sequence[Arrival], on_answer: Callable[[Answer], None]
) -> Played:
    """Send every arrival at its time and wait for all answers."""
    lag_s: list[float] = []
    async with Upstream() as upstream:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        watch = asyncio.create_task(_watch_lag(lag_s))
        tasks = []
        for arrival in arrivals:
            request = _outgoing(model, arrival)
            await asyncio.sleep(max(start_s + arrival.at_s - loop.time(), 0.0))
            task = asyncio.create_task(_ask(upstream, url, request, start_s))
            task.add_done_callback(lambda done: on_answer(done.result()))
            tasks.append(task)
        answers = list(await asyncio.gather(*tasks))
        watch.cancel()
    return Played(answers=answers, loop_lag_s=lag_s)


async def _ask(upstream: Upstream, url: str, request: OutgoingRequest, start_s: float) -> Answer:
    answer = await ask(upstream, url, request)
    return replace(answer, at_s=answer.at_s - start_s)


async def _watch_lag(lag_s: list[float]) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due_s = now() + LAG_SAMPLE_S
        await asyncio.sleep(LAG_SAMPLE_S)
        lag_s.append(now() - due_s)


def _outgoing(model: str, arrival: Arrival) -> OutgoingRequest:
    body = {
        "model": model,
        "messages": [{"role": role, "content": text} for role, text in arrival.messages],
        "max_tokens": 512,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return chat_request(
        body,
        {
            "x-session-id": arrival.session_id,
            "x-sim-output-tokens": str(arrival.output_tokens),
        },
    )
