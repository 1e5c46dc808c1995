"""Which requests have been silent for too long, and where they go then."""

import asyncio
import time

import pytest

from proxy.settings import StallSettings
from proxy.stalls import Silence, StallWatch, is_overdue
from tests.fakes import DONE, HOLD, LAST_CHUNK, STREAM_HEAD, FakeEndpoint, event
from tests.proxy.harness import CHAT, RunningProxy, running_proxy, state_of
from tests.proxy.raw import BODY, STREAM, STREAMED

SETTINGS = StallSettings(factor=10.0, floor_s=3.0, unpredicted_s=60.0)


def overdue_after(seconds: float, **about: object) -> bool:
    silence = Silence(**({"seconds": seconds, "streamed": True} | about))  # type: ignore[arg-type]  # test shorthand
    return is_overdue(silence, SETTINGS)


@pytest.mark.parametrize(
    ("about", "limit_s"),
    [
        ({"ttft_s": 2.0, "tpot_s": 0.5}, 20.0),
        ({"ttft_s": 2.0, "tpot_s": 0.5, "begun": True}, 5.0),
        ({"ttft_s": 0.01, "tpot_s": 0.001}, 3.0),
        ({"ttft_s": 0.01, "tpot_s": 0.001, "begun": True}, 3.0),
        ({}, 60.0),
        ({"ttft_s": 20.0, "stands_still": True}, 3.0),
        ({"streamed": False, "stands_still": True}, 3.0),
    ],
)
def test_a_request_may_be_silent_for_many_times_what_is_predicted(
    about: dict[str, object], limit_s: float
) -> None:
    assert not overdue_after(limit_s - 0.01, **about)
    assert overdue_after(limit_s, **about)


def test_an_answer_that_is_not_streamed_is_silent_however_well_it_goes() -> None:
    assert not overdue_after(10_000.0, streamed=False, ttft_s=0.1, tpot_s=0.1)


def sweep(proxy: RunningProxy, *, after_s: float) -> None:
    """Look as if so much time had passed since."""
    watch = StallWatch(proxy.relay, proxy.scheduler, SETTINGS, lambda: time.monotonic() + after_s)
    watch.sweep(asyncio.get_running_loop().time() + after_s)


@pytest.mark.anyio
async def test_a_request_nobody_says_anything_about_goes_elsewhere() -> None:
    async with (
        FakeEndpoint(default=[HOLD]) as hung,
        FakeEndpoint(default=STREAM) as other,
        running_proxy(hung, other) as proxy,
    ):
        asking = asyncio.create_task(proxy.client.post(CHAT, json=STREAMED))
        await hung.arrived.wait()

        sweep(proxy, after_s=2.0)
        patient = not hung.aborted.is_set() and not other.seen
        sweep(proxy, after_s=30.0)
        answer = await asking
        await asyncio.wait_for(hung.aborted.wait(), 5)

        assert patient
        assert answer.text.endswith("data: [DONE]\n\n")
        assert answer.headers["x-foretoken-endpoint"] == other.name
        assert proxy.scheduler.suspicion(hung.name, time.monotonic() + 30.0) == "stalled"
        assert proxy.scheduler.inflight_requests == 0


@pytest.mark.anyio
async def test_a_stream_that_has_begun_is_never_moved() -> None:
    rest = asyncio.Event()
    script = [STREAM_HEAD, event("a"), rest, event("b"), DONE, LAST_CHUNK]
    async with (
        FakeEndpoint(script) as hung,
        FakeEndpoint() as other,
        running_proxy(hung, other) as proxy,
    ):
        asking = asyncio.create_task(proxy.client.post(CHAT, json=STREAMED))
        await hung.arrived.wait()
        while not any(each.exchange.shown for each in proxy.relay.live.values()):
            await asyncio.sleep(0)

        sweep(proxy, after_s=1000.0)
        suspicion = proxy.scheduler.suspicion(hung.name, time.monotonic() + 1000.0)
        rest.set()
        answer = await asking

        assert suspicion == "stalled"
        assert answer.text.endswith("data: [DONE]\n\n")
        assert other.seen == []


@pytest.mark.anyio
async def test_a_whole_answer_moves_only_once_its_endpoint_is_known_to_stand_still() -> None:
    async with (
        FakeEndpoint(default=[HOLD]) as hung,
        FakeEndpoint() as other,
        running_proxy(hung, other) as proxy,
    ):
        asking = asyncio.create_task(proxy.client.post(CHAT, json=BODY))
        await hung.arrived.wait()

        sweep(proxy, after_s=1000.0)
        waited = other.seen == []
        now = time.monotonic() + 4.0
        still = state_of(hung, scraped_s=now, moved_s=now - 9.0, still_since_s=now - 8.0)
        proxy.scheduler.update([still, state_of(other, scraped_s=now)])
        sweep(proxy, after_s=4.0)
        answer = await asking

        assert waited
        assert (answer.status_code, answer.headers["x-foretoken-endpoint"]) == (200, other.name)
