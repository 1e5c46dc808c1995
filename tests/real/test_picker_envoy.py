"""The picker behind the real Envoy, with the example configuration."""

import asyncio
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.picker.envoy_config import EXAMPLE
from scheduler import SchedulerSettings, TierSettings
from tests.fakes import (
    DONE,
    HOLD,
    LAST_CHUNK,
    STREAM_HEAD,
    FakeEndpoint,
    event,
    json_response,
    usage_event,
)
from tests.real.envoy import Setup, behind_envoy, binary
from tests.scheduler.known_physics import MODEL

pytestmark = [pytest.mark.real, pytest.mark.anyio]

CHAT = "/v1/chat/completions"
DUPLEX = "FULL_DUPLEX_STREAMED"
MODES = [
    (DUPLEX, DUPLEX),
    (DUPLEX, "NONE"),
    (DUPLEX, "STREAMED"),
    ("BUFFERED", "NONE"),
    ("BUFFERED", "STREAMED"),
    ("BUFFERED", "BUFFERED"),
    ("BUFFERED_PARTIAL", "BUFFERED_PARTIAL"),
    ("STREAMED", "STREAMED"),
    ("NONE", "NONE"),
]
TOKENS = [STREAM_HEAD, event("a"), event("b"), usage_event(9, 2), DONE, LAST_CHUNK]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return ("asyncio", {"use_uvloop": True})


def _chat(**fields: object) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hello " * 40}], **fields}


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def _outcomes(setup: Setup) -> list[str]:
    return [record.measurement.outcome for record in setup.table.records]


def test_the_example_is_valid() -> None:
    done = subprocess.run(
        [binary(), "--mode", "validate", "-c", EXAMPLE], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("modes", MODES)
async def test_a_request_goes_where_it_was_picked_in_every_mode(
    tmp_path: Path, modes: tuple[str, str], *, stream: bool
) -> None:
    whole = [json_response({"usage": {"prompt_tokens": 9, "completion_tokens": 2}})]
    script = TOKENS if stream else whole
    async with (
        FakeEndpoint(default=script) as fast,
        FakeEndpoint(default=script) as slow,
        behind_envoy(tmp_path, fast, slow, modes=modes) as setup,
    ):
        answer = await setup.client.post(CHAT, json=_chat(stream=stream))
        await _until(lambda: bool(setup.table.records) or setup.table.picker._held)

        assert answer.status_code == 200
        assert answer.headers["x-foretoken-endpoint"] == fast.name
        assert len(fast.seen) == 1
        assert slow.seen == []
        assert fast.seen[0].header("x-gateway-destination-endpoint").split(",")[0] == fast.name
        assert fast.seen[0].header("x-request-id") == answer.headers["x-request-id"]
        sent = json.loads(fast.seen[0].body)
        changeable = modes[0] in {DUPLEX, "BUFFERED"} and modes[1] != "NONE"
        spliced = stream and changeable
        assert sent == _chat(stream=stream) | (
            {"stream_options": {"include_usage": True}} if spliced else {}
        )
        assert ("usage" in answer.text) is (not spliced)
        if modes[1] != "NONE":
            (record,) = setup.table.records
            assert record.measurement.outcome == "completed"
            assert record.measurement.output_tokens == 2
            assert record.endpoint == fast.name
    assert setup.table.scheduler.inflight_requests == 0


async def test_a_large_prompt_and_a_large_answer_pass_whole(tmp_path: Path) -> None:
    answer_body = {"text": "y" * 3_000_000}
    async with (
        FakeEndpoint(default=[json_response(answer_body)]) as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint()) as setup,
    ):
        request = _chat(padding="x" * 5_000_000)
        answer = await setup.client.post(CHAT, json=request)

        assert answer.json() == answer_body
        assert json.loads(fast.seen[0].body) == request


@pytest.mark.parametrize("modes", [(DUPLEX, DUPLEX), ("BUFFERED", "STREAMED")])
async def test_a_dead_endpoint_is_passed_over_and_the_one_that_served_is_counted(
    tmp_path: Path, modes: tuple[str, str]
) -> None:
    async with FakeEndpoint() as dead, FakeEndpoint() as alive:
        await dead.stop()
        async with behind_envoy(tmp_path, dead, alive, modes=modes) as setup:
            answer = await setup.client.post(CHAT, json=_chat())
            await _until(lambda: bool(setup.table.records))

            assert answer.status_code == 200
            assert answer.headers["x-foretoken-endpoint"] == alive.name
            (record,) = setup.table.records
            assert record.endpoint == alive.name
            assert record.attempts == 1
            now = asyncio.get_running_loop().time()
            assert setup.table.scheduler.suspicion(dead.name, now) == "unreachable"


async def test_without_anyone_to_fall_back_to_the_client_hears_503_and_it_counts(
    tmp_path: Path,
) -> None:
    async with FakeEndpoint() as dead:
        await dead.stop()
        async with behind_envoy(tmp_path, dead) as setup:
            answer = await setup.client.post(CHAT, json=_chat())
            await _until(lambda: bool(setup.table.records))

            assert answer.status_code == 503
            assert _outcomes(setup) == ["upstream_error"]
    assert setup.table.scheduler.inflight_requests == 0


@pytest.mark.parametrize("modes", [(DUPLEX, DUPLEX), ("BUFFERED", "STREAMED")])
async def test_tokens_pass_as_they_come(tmp_path: Path, modes: tuple[str, str]) -> None:
    gates = [asyncio.Event() for _ in range(3)]
    script: list[Any] = [STREAM_HEAD]
    for number, gate in enumerate(gates):
        script += [event(str(number)), gate]
    async with (
        FakeEndpoint([*script, DONE, LAST_CHUNK]) as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint(), modes=modes) as setup,
        setup.client.stream("POST", CHAT, json=_chat(stream=True)) as answer,
    ):
        lines = answer.aiter_lines()
        for number, gate in enumerate(gates):
            async with asyncio.timeout(10):  # each one comes before the next was sent
                while f'"{number}"' not in await anext(lines):
                    pass
            gate.set()
        rest = [line async for line in lines]

        assert "data: [DONE]" in rest


@pytest.mark.parametrize("modes", [(DUPLEX, DUPLEX), ("BUFFERED", "STREAMED")])
@pytest.mark.parametrize("began", [False, True])
async def test_a_client_that_goes_is_released_and_the_endpoint_aborted(
    tmp_path: Path, modes: tuple[str, str], *, began: bool
) -> None:
    script = [STREAM_HEAD, event("a"), HOLD] if began else [HOLD]
    async with (
        FakeEndpoint(script) as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint(), modes=modes) as setup,
    ):
        asking = asyncio.create_task(setup.client.post(CHAT, json=_chat(stream=True)))
        await asyncio.wait_for(fast.arrived.wait(), 10)
        assert setup.table.scheduler.inflight_requests == 1
        if began:
            await asyncio.sleep(0.1)
        asking.cancel()

        await _until(lambda: bool(setup.table.records))
        await asyncio.wait_for(fast.aborted.wait(), 10)
        assert _outcomes(setup) == ["client_gone"]
        assert setup.table.scheduler.inflight_requests == 0


async def test_a_cut_response_breaks_off_and_is_released(tmp_path: Path) -> None:
    async with (
        FakeEndpoint([STREAM_HEAD, event("a"), HOLD]) as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint()) as setup,
    ):
        asking = asyncio.create_task(setup.client.post(CHAT, json=_chat(stream=True)))
        await asyncio.wait_for(fast.arrived.wait(), 10)
        await asyncio.sleep(0.1)
        await fast.stop()

        with pytest.raises(httpx.RemoteProtocolError):
            await asking
        await _until(lambda: bool(setup.table.records))
        assert _outcomes(setup) == ["client_gone"]  # Envoy does not say which side went
        assert setup.table.scheduler.inflight_requests == 0


@pytest.mark.parametrize("modes", [(DUPLEX, DUPLEX), ("BUFFERED", "STREAMED"), ("NONE", "NONE")])
async def test_a_request_that_is_shed_hears_429_at_once(
    tmp_path: Path, modes: tuple[str, str]
) -> None:
    scheduling = SchedulerSettings(
        tiers={"batch": TierSettings(ttft_s=1e-6, sheddable=True)}, default_tier="batch"
    )
    async with (
        FakeEndpoint() as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint(), modes=modes, scheduling=scheduling) as setup,
    ):
        answer = await setup.client.post(CHAT, json=_chat())

        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-llm-d-request-dropped-reason"] == "rejected-saturated"
        assert answer.json()["error"]["code"] == "objective_infeasible"
        assert fast.seen == []
        assert _outcomes(setup) == ["shed"]


async def test_a_malformed_objective_is_400_in_openais_form(tmp_path: Path) -> None:
    async with (
        FakeEndpoint() as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint()) as setup,
    ):
        answer = await setup.client.post(CHAT, json=_chat(), headers={"x-slo-ttft-ms": "soon"})

        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == "x-slo-ttft-ms"


@pytest.mark.parametrize("modes", [(DUPLEX, DUPLEX), ("BUFFERED", "STREAMED"), ("NONE", "NONE")])
async def test_a_request_may_wait_longer_than_envoy_waits_for_messages(
    tmp_path: Path, modes: tuple[str, str]
) -> None:
    async with (
        FakeEndpoint() as fast,
        behind_envoy(
            tmp_path, fast, FakeEndpoint(), modes=modes, up=[], message_timeout_s=1
        ) as setup,
    ):
        asking = asyncio.create_task(setup.client.post(CHAT, json=_chat()))
        await _until(lambda: setup.table.scheduler.waiting_requests == 1)
        await asyncio.sleep(1.5)
        assert not asking.done()

        states = setup.table.scheduler.states.values()
        setup.table.scheduler.update([replace(state, up=True) for state in states])
        answer = await asking

        assert answer.status_code == 200


async def test_a_restarted_picker_serves_again(tmp_path: Path) -> None:
    async with (
        FakeEndpoint() as fast,
        behind_envoy(tmp_path, fast, FakeEndpoint()) as setup,
    ):
        before = await setup.client.post(CHAT, json=_chat())
        await setup.stop_picker()
        without = await setup.client.post(CHAT, json=_chat())
        await setup.start_picker()
        started_s = time.monotonic()
        async with asyncio.timeout(20):
            while (after := await setup.client.post(CHAT, json=_chat())).status_code != 200:
                await asyncio.sleep(0.05)

        assert before.status_code == 200
        assert without.status_code >= 500
        assert after.headers["x-foretoken-endpoint"] == fast.name
        assert time.monotonic() - started_s < 15
        assert setup.table.scheduler.inflight_requests == 0


async def test_who_only_watches_learns_where_envoy_sent_it(tmp_path: Path) -> None:
    async with (
        FakeEndpoint(default=TOKENS) as fast,
        FakeEndpoint(default=TOKENS) as slow,
        behind_envoy(tmp_path, fast, slow, modes=("STREAMED", "STREAMED"), observing=True) as setup,
    ):
        for _ in range(4):
            answer = await setup.client.post(CHAT, json=_chat(stream=True))
            assert answer.status_code == 200
            assert "x-foretoken-endpoint" not in answer.headers
        await _until(lambda: len(setup.table.records) == 4)

        assert len(fast.seen) == len(slow.seen) == 2  # round robin
        served = sorted(str(record.endpoint) for record in setup.table.records)
        assert served == sorted([fast.name, slow.name] * 2)
        assert {each.endpoint for each in setup.table.physics.learned} == {fast.name, slow.name}
    assert setup.table.scheduler.inflight_requests == 0


async def test_a_clients_own_destination_is_not_followed(tmp_path: Path) -> None:
    async with (
        FakeEndpoint() as fast,
        FakeEndpoint() as slow,
        behind_envoy(tmp_path, fast, slow) as setup,
    ):
        own = {"x-gateway-destination-endpoint": slow.name}
        placed = await setup.client.post(CHAT, json=_chat(), headers=own)
        passed = await setup.client.get("/health", headers=own)

        assert placed.headers["x-foretoken-endpoint"] == fast.name
        assert passed.status_code == 200
        assert [seen.header("x-gateway-destination-endpoint") for seen in slow.seen] != [slow.name]
