"""Faults of endpoints: they die, stand still, refuse, break off, and say nonsense."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from benchmarks.storm.fault import Fault, Scene
from benchmarks.storm.mix import MODEL
from benchmarks.storm.place import Endpoint
from benchmarks.storm.seen import is_up, samples, total, until

_BATCHES: Final = "foretoken_kv_event_batches_total"
_LOSSES: Final = "foretoken_kv_event_losses_total"


@asynccontextmanager
async def _at_one(scene: Scene, *, exact: bool = False) -> AsyncIterator[Endpoint]:
    """Take an endpoint for the fault; afterwards all routers must think well of it."""
    endpoint = scene.choose(exact=exact)
    try:
        yield endpoint
        for router in scene.place.live_routers:
            await until(
                f"{endpoint.name} is up and trusted at router {router.index}",
                lambda router=router: is_up(scene.place, router, endpoint.name),  # type: ignore[misc]  # bound now
            )
    finally:
        scene.release(endpoint)


async def killed(scene: Scene) -> None:
    """SIGKILL, and a start in its place."""
    async with _at_one(scene) as endpoint:
        await endpoint.server.kill()
        await asyncio.sleep(scene.hold_s)
        await endpoint.server.start()
        await endpoint.server.answers(f"{endpoint.url}/health")


async def stopped(scene: Scene) -> None:
    """SIGSTOP: connections stay, nothing comes; SIGCONT."""
    async with _at_one(scene) as endpoint:
        endpoint.server.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(scene.hold_s)
        finally:
            endpoint.server.signal(signal.SIGCONT)


async def page_gone(scene: Scene) -> None:
    """Answer 404 to whoever asks for metrics."""
    await _asked(scene, "kind=page&how=gone")


async def page_garbage(scene: Scene) -> None:
    """Give bytes that are no metrics."""
    await _asked(scene, "kind=page&how=garbage")


async def page_slow(scene: Scene) -> None:
    """Give metrics after 10 s, longer than they are waited for."""
    await _asked(scene, "kind=page&how=slow")


async def refusing(scene: Scene) -> None:
    """Answer most of inference with 503."""
    await _asked(scene, "kind=refuse&share=0.8")


async def resetting(scene: Scene) -> None:
    """Reset connections in the middle of bodies."""
    await _asked(scene, "kind=reset&share=0.3")


async def events_lost(scene: Scene) -> None:
    """Lose KV events on their way; they can be asked for again, or not."""
    replayed = str(scene.rng.random() < 0.5).lower()
    router = scene.place.routers[0]  # no fault ends this one
    async with _at_one(scene, exact=True) as endpoint:

        async def noticed() -> float:
            page = await samples(scene.place, router)
            again = total(page, _BATCHES, endpoint=endpoint.name, replayed="yes")
            return again + total(page, _LOSSES, endpoint=endpoint.name)

        before = await noticed()
        await _begin(scene, endpoint, f"kind=lose_events&replayed={replayed}")
        await _fill_a_block(scene, endpoint)
        await asyncio.sleep(scene.hold_s)

        async def grew() -> bool:
            return await noticed() > before

        await until(f"router {router.index} noticed that KV events are missing", grew)


async def _fill_a_block(scene: Scene, endpoint: Endpoint) -> None:
    """Let there be an event, whether or not routers send anything there."""
    prompt = f"{scene.rng.random()} " * 40
    body = {"model": MODEL, "prompt": prompt, "max_tokens": 2}
    answer = await scene.place.client.post(f"{endpoint.url}/v1/completions", json=body)
    answer.raise_for_status()


async def _asked(scene: Scene, query: str) -> None:
    async with _at_one(scene) as endpoint:
        await _begin(scene, endpoint, query)
        await asyncio.sleep(scene.hold_s)


async def _begin(scene: Scene, endpoint: Endpoint, query: str) -> None:
    url = f"{endpoint.url}/sim/fault?{query}&seconds={scene.hold_s}"
    answer = await scene.place.client.post(url)
    answer.raise_for_status()


FAULTS: Final = (
    Fault("endpoint killed", "endpoints", killed),
    Fault("endpoint stopped", "endpoints", stopped),
    Fault("metrics gone", "endpoints", page_gone),
    Fault("metrics garbage", "endpoints", page_garbage),
    Fault("metrics 10 s slow", "endpoints", page_slow),
    Fault("503s", "endpoints", refusing),
    Fault("resets mid-body", "endpoints", resetting),
    Fault("KV events lost", "endpoints", events_lost),
)
