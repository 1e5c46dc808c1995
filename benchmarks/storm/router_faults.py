"""Faults around a router: its trainer, models, disk, clock, configuration, and its end."""

import asyncio
import os
import signal
from typing import Final

from benchmarks.storm.fault import Fault, Scene
from benchmarks.storm.meeting import CONNECTED
from benchmarks.storm.models import Make, foreign, put_right, put_wrong, truncated
from benchmarks.storm.place import Place, Router
from benchmarks.storm.seen import DROPPED, is_up, samples, times_logged, total, trainer_pid, until

STEP_S: Final = 3600.0
_TURN_S: Final = 1.3  # a configuration is looked at every second
_UNREADABLE: Final = '[[endpoints]\nurl = "http://127.0.0.1'


async def trainer_killed(scene: Scene) -> None:
    """SIGKILL of a trainer; its router starts another."""
    router, pid = await _with_trainer(scene)

    async def another() -> bool:
        page = await samples(scene.place, router)
        return trainer_pid(router) not in {None, pid} and total(page, "foretoken_trainer_up") == 1

    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(scene.hold_s)
    what = f"router {router.index} has another trainer"
    # Each death doubles the wait before the next start, up to a minute.
    await until(what, another, within_s=90.0)


async def _with_trainer(scene: Scene) -> tuple[Router, int]:
    found: list[tuple[Router, int]] = []

    async def there() -> bool:
        pids = [(router, trainer_pid(router)) for router in scene.place.live_routers]
        found[:] = [(router, pid) for router, pid in pids if pid is not None]
        return bool(found)

    await until("some router has a trainer", there, within_s=90.0)
    router, pid = scene.rng.choice(found)
    scene.injection.whom = router.server.name
    return router, pid


async def model_truncated(scene: Scene) -> None:
    """Put a version in use whose file ends in the middle."""
    await _wrong_model(scene, make=truncated)


async def model_foreign(scene: Scene) -> None:
    """Put a version in use that has another schema."""
    await _wrong_model(scene, make=foreign)


async def _wrong_model(scene: Scene, make: Make) -> None:
    router = _choose(scene)
    store = scene.place.store_of(router)
    seen = times_logged(router, "model_skipped")
    wrong = await put_wrong(store, make)

    async def noticed() -> bool:
        return times_logged(router, "model_skipped") > seen or not wrong.in_use()

    async def right() -> bool:
        page = await samples(scene.place, router)
        return total(page, "foretoken_model_skipped") == 0

    await until(f"router {router.index} refused the version", noticed, within_s=10.0)
    await asyncio.sleep(scene.hold_s)
    await asyncio.to_thread(put_right, wrong)
    await until(f"router {router.index} skips no version any more", right)


async def disk_full(scene: Scene) -> None:
    """Leave no room for traces, then make some."""
    router = _choose(scene)
    page = await samples(scene.place, router)
    before = total(page, DROPPED)
    router.disk.fill()
    try:
        await asyncio.sleep(scene.hold_s)

        async def noticed() -> bool:
            page = await samples(scene.place, router)
            return total(page, DROPPED) > before

        await until(f"router {router.index} counts rows it cannot write", noticed)
    finally:
        router.disk.empty()
    await _finishes_a_trace(router)


async def clock_stepped(scene: Scene) -> None:
    """Step a router's wall clock an hour forward, two back, and where it was."""
    router = _choose(scene)
    if router.clock is None:
        return
    try:
        for offset_s in (STEP_S, -STEP_S):
            await asyncio.sleep(scene.hold_s / 2)  # a file is being written
            router.clock.step(offset_s)
            await _finishes_a_trace(router)
    finally:
        router.clock.step(0.0)
    await _finishes_a_trace(router)


async def _finishes_a_trace(router: Router) -> None:
    def finished() -> set[str]:
        return {path.name for path in (router.folder / "traces").glob("trace-*.parquet")}

    before = await asyncio.to_thread(finished)

    async def one_more() -> bool:
        return bool(await asyncio.to_thread(finished) - before)

    await until(f"router {router.index} finished another trace", one_more, within_s=20.0)


async def config_broken(scene: Scene) -> None:
    """Write a configuration that cannot be read, then the one from before."""
    router = _choose(scene)
    refused = times_logged(router, "configuration_not_reloaded")
    taken = times_logged(router, "configuration_reloaded")
    text = router.config.read_text()

    async def said() -> bool:
        return times_logged(router, "configuration_not_reloaded") > refused

    async def mended() -> bool:
        return times_logged(router, "configuration_reloaded") > taken

    router.config.write_text(_UNREADABLE)
    try:
        await until(f"router {router.index} refused the configuration", said)
        await asyncio.sleep(scene.hold_s)
    finally:
        router.config.write_text(text)
    await until(f"router {router.index} took the mended configuration", mended)


async def flapping(scene: Scene) -> None:
    """Take an endpoint out of the configuration and back, several times."""
    place, endpoint = scene.place, scene.choose()
    try:
        for _ in range(max(2, round(scene.hold_s / (2 * _TURN_S)))):
            place.configure(without=frozenset({endpoint.name}))
            await asyncio.sleep(_TURN_S)
            place.configure()
            await asyncio.sleep(_TURN_S)
        for router in place.live_routers:
            await until(
                f"{endpoint.name} is back at router {router.index}",
                lambda router=router: is_up(place, router, endpoint.name),  # type: ignore[misc]  # bound now
            )
    finally:
        place.configure()
        scene.release(endpoint)


async def terminated(scene: Scene) -> None:
    """SIGTERM of the last router: it finishes what it has, exits with 0, and comes back."""
    router = scene.place.routers[-1]
    scene.injection.whom = router.server.name
    page = await samples(scene.place, router)
    dropped = scene.place.dropped_rows
    dropped[router.index] = dropped.get(router.index, 0.0) + total(page, DROPPED)
    await router.server.stop()
    await asyncio.sleep(scene.hold_s)
    await router.server.start()
    await router.server.answers(f"{router.url}/ready")


async def meeting_killed(scene: Scene) -> None:
    """SIGKILL of where routers meet: all it held is lost; it comes back empty."""
    meeting = scene.place.meeting
    if meeting is None:
        return
    await meeting.server.kill()
    await asyncio.sleep(scene.hold_s)
    await meeting.server.start()
    await _meet(scene)


async def meeting_stopped(scene: Scene) -> None:
    """SIGSTOP of where routers meet: connections stay, and nobody answers."""
    meeting = scene.place.meeting
    if meeting is None:
        return
    meeting.server.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(scene.hold_s)
    finally:
        meeting.server.signal(signal.SIGCONT)
    await _meet(scene)


async def _meet(scene: Scene) -> None:
    async def all_do() -> bool:
        pages = [await samples(scene.place, router) for router in scene.place.live_routers]
        return all(total(page, CONNECTED) == 1 for page in pages)

    await until("all routers hear of each other", all_do)


def _choose(scene: Scene) -> Router:
    router = scene.rng.choice(scene.place.live_routers)
    scene.injection.whom = router.server.name
    return router


def _no_clock(place: Place) -> str | None:
    missing = any(router.clock is None for router in place.routers)
    return "there is no C compiler" if missing else None


def _alone(place: Place) -> str | None:
    return None if len(place.routers) > 1 else "there is one router only"


def _no_meeting(place: Place) -> str | None:
    return None if place.meeting is not None else "routers do not meet"


FAULTS: Final = (
    Fault("trainer killed", "routers", trainer_killed),
    Fault("model truncated", "routers", model_truncated),
    Fault("model of another schema", "routers", model_foreign),
    Fault("trace disk full", "routers", disk_full),
    Fault("clock stepped", "routers", clock_stepped, _no_clock),
    Fault("configuration broken", "routers", config_broken),
    Fault("endpoint list flapping", "routers", flapping),
    Fault("router terminated", "routers", terminated, _alone),
    Fault("Redis killed", "routers", meeting_killed, _no_meeting),
    Fault("Redis stopped", "routers", meeting_stopped, _no_meeting),
)
