"""What the source survives: lost versions, cut connections, garbage, credentials that change."""

import asyncio
import json
import logging
import random
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from collectors.discovery.kubernetes_api import MOST_LIST_BYTES, ApiServer, Collection
from collectors.discovery.kubernetes_events import ApiFailed
from collectors.discovery.kubernetes_mirror import LIST_AFTER, LONGEST_PAUSE_S
from collectors.discovery.kubernetes_objects import Pod
from tests.collectors.discovery.kubernetes_harness import (
    Bench,
    begun,
    benched,
    kubeconfig,
    pod,
    pool,
)
from tests.fakes import CLOSE, HOLD, STREAM_HEAD, FakeEndpoint, Script, Seen, json_response
from tests.kubernetes_store import Key

POD_PATH = "/api/v1/namespaces/default/pods?"


def lists(bench: Bench) -> int:
    """Count how often pods were listed."""
    return sum(
        one.target.startswith(POD_PATH) and "watch=" not in one.target for one in bench.api.seen
    )


def versions(bench: Bench) -> list[str]:
    """Give the versions from which pods were watched."""
    return [_query(one)["resourceVersion"][0] for one in bench.api.seen if _watches_pods(one)]


def _watches_pods(seen: Seen) -> bool:
    return seen.target.startswith(POD_PATH) and "watch=true" in seen.target


def _query(seen: Seen) -> dict[str, list[str]]:
    return parse_qs(urlsplit(seen.target).query)


@pytest.mark.parametrize("as_status", [False, True], ids=["in the stream", "as a status"])
def test_a_version_that_is_gone_is_listed_anew(tmp_path: Path, as_status: bool) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1, 2)
        bench.api.gone_as_status = as_status
        await bench.api.stop()
        bench.api.delete("Pod", "vllm-2")
        bench.api.put(pod(3))
        bench.api.store.compact()
        await bench.api.start()

        await bench.told.comes("10.0.0.1:8000", "10.0.0.3:8000")

    bench = benched(tmp_path, use)

    assert [] not in bench.told.sets
    assert "expired" in bench.counts.failures
    assert lists(bench) == 2


def test_gone_in_the_middle_of_a_watch_is_listed_anew(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        bench.api.say("pods", "ERROR", gone)
        await bench.api.watched("pods", times=2)
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    bench = benched(tmp_path, use)

    assert bench.counts.failures == ["expired"]
    assert bench.pauses.asked == []  # once is no reason to wait
    assert lists(bench) == 2


def test_a_connection_cut_between_events_goes_on_where_it_was(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")
        bench.api.cut()
        bench.api.put(pod(3))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000")

    bench = benched(tmp_path, use)

    assert lists(bench) == 1
    assert set(bench.counts.failures) == {"unreachable"}


def test_a_server_that_is_away_changes_nothing_until_it_is_back(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1, 2)
        await bench.api.stop()
        await bench.pauses.number(20)
        assert len(bench.told.sets) == 1

        bench.api.delete("Pod", "vllm-1")
        await bench.api.start()
        await bench.told.comes("10.0.0.2:8000")

    bench = benched(tmp_path, use)

    assert set(bench.counts.failures) == {"unreachable"}


LISTED = json_response({"metadata": {"resourceVersion": "7"}, "items": []})


@pytest.mark.parametrize("scripts", [[[HOLD]], [[LISTED], [STREAM_HEAD, HOLD]]])
def test_a_server_that_falls_silent_is_left(tmp_path: Path, scripts: list[Script]) -> None:
    async def use(bench: Bench) -> None:
        async with FakeEndpoint(*scripts, default=[CLOSE]) as silent:
            bench.kubeconfig.write_text(json.dumps(kubeconfig(silent.url, {})))
            bench.start(pool="pool", timeout_s=0.05, watch_s=1.0)
            await bench.pauses.number(1)

    assert benched(tmp_path, use).counts.failures[0] == "timeout"


def test_one_that_was_never_reached_tells_nothing(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await bench.api.stop()
        bench.start(pool="pool")
        await bench.pauses.number(5)

    assert benched(tmp_path, use).told.sets == []


def test_pauses_grow_to_a_bound_and_end_with_the_trouble(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool())
        bench.api.put(pod(1))
        bench.api.refusals.extend([500] * 12)
        bench.start(pool="pool")
        await bench.told.comes("10.0.0.1:8000")
        await bench.api.watched("pods")
        bench.api.refusals.append(503)
        bench.api.end()
        await bench.api.watched("pods", "inferencepools", times=2)

    bench = benched(tmp_path, use)

    pauses = bench.pauses.asked
    assert bench.counts.failures == ["refused"] * 13
    assert all(0.25 * 2**n <= pause <= 0.5 * 2**n for n, pause in enumerate(pauses[:6]))
    assert all(LONGEST_PAUSE_S / 2 <= pause <= LONGEST_PAUSE_S for pause in pauses[7:12])
    assert len(set(pauses)) == len(pauses)  # routers do not come back all at once
    assert pauses[12] <= 0.5


def test_a_watch_that_fails_again_and_again_is_not_trusted_with_its_version(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        bench.api.forbidden.add("inferencepools")  # only pods are asked further
        bench.pauses.held = True
        bench.api.refusals.extend([504] * (2 * LIST_AFTER))
        bench.api.cut()
        for times in range(2, 20):
            await bench.pauses.number(times)
            bench.pauses.let_go()
            if lists(bench) > 1:
                return

    assert lists(benched(tmp_path, use)) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"{nonsense\n",
        b"\xff\xfe\n",
        b'{"type": "ADDED", "object": {"metadata": 7}}\n',
        b'{"type": "GREETING", "object": {}}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (5 << 20),
    ],
    ids=["no json", "no text", "no object", "no event", "deep", "long"],
)
def test_garbage_is_listed_over(tmp_path: Path, line: bytes) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        bench.api.write("pods", line)
        await bench.api.watched("pods", times=2)
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    bench = benched(tmp_path, use)

    assert bench.counts.failures == ["invalid"]
    assert lists(bench) == 2


def test_a_page_beyond_all_bounds_is_refused() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(MOST_LIST_BYTES >> 20):
            yield bytes(1 << 20)
        yield b"more"
        raise AssertionError("it went on reading")

    async def use() -> None:
        answer = httpx2.MockTransport(lambda _: httpx2.Response(200, content=endless()))
        pods = Collection(group="api/v1", plural="pods", kind=Pod)
        client = httpx2.AsyncClient(transport=answer, base_url="http://10.0.0.1")
        with pytest.raises(ApiFailed, match="a page of more than"):
            await ApiServer(client, "prod", 60.0).list_all(pods)
        await client.aclose()

    asyncio.run(use())


def test_a_list_that_is_garbage_changes_nothing(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        for wrong in ({"items": []}, {"items": [{}]}, {}):
            bench.api.scripted.append(wrong)
        bench.api.forbidden.add("inferencepools")
        bench.api.write("pods", b"{}\n")
        await bench.api.watched("pods", times=2)
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    bench = benched(tmp_path, use)

    assert bench.counts.failures.count("invalid") == 4
    assert len(bench.told.sets) == 2


def test_a_bookmark_moves_the_version_a_watch_begins_at(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        for number in range(50):  # nothing of ours
            bench.api.put({"kind": "Service", "metadata": {"name": f"s{number}"}})
        bench.api.bookmark()
        await bench.told.until(lambda: True)
        bench.api.end()
        await bench.api.watched("pods", times=2)
        bench.api.store.compact()  # what the bookmark told is past what is gone now
        bench.api.put(pod(2))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000")

    bench = benched(tmp_path, use)

    first, second = versions(bench)
    assert int(second) >= int(first) + 50
    assert bench.counts.failures == []
    assert lists(bench) == 1


def test_a_watch_that_ends_in_time_is_begun_again_without_a_pause(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        for times in range(2, 5):
            bench.api.end()
            await bench.api.watched("pods", "inferencepools", times=times)

    bench = benched(tmp_path, use)

    assert (bench.pauses.asked, bench.counts.failures) == ([], [])
    assert lists(bench) == 1
    watches = [_query(one) for one in bench.api.seen if _watches_pods(one)]
    assert all(48 <= int(one["timeoutSeconds"][0]) <= 60 for one in watches)
    assert all(one["allowWatchBookmarks"] == ["true"] for one in watches)


def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_pause(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.clock = lambda: 0.0  # type: ignore[method-assign]  # no time passes
        await begun(bench, 1)
        bench.pauses.held = True
        bench.api.end()
        await bench.pauses.number(2)

    assert benched(tmp_path, use).counts.failures == ["refused", "refused"]


def test_what_is_told_twice_or_late_changes_nothing(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1, 2)
        key = Key("", "pods", "default", "vllm-1")
        old = bench.api.store.get(key)
        bench.api.say("pods", "ADDED", old)
        bench.api.say("pods", "MODIFIED", old)
        bench.api.delete("Pod", "vllm-1")
        bench.api.put(pod(1))  # the name again, another uid
        bench.api.say("pods", "DELETED", old)
        bench.api.say("pods", "DELETED", {"metadata": {"name": "nobody", "uid": "u"}})
        newer = bench.api.put(pod(2, foretoken_dev__hardware="h100"))
        stale = {**pod(2, ready=False)}
        stale["metadata"] |= {"uid": newer["metadata"]["uid"], "resourceVersion": "101"}
        bench.api.say("pods", "MODIFIED", stale)
        bench.api.put(pod(3))
        await bench.told.comes("10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.3:8000")

    bench = benched(tmp_path, use)

    assert bench.told.sets[-1][1].hardware == "h100"
    assert bench.counts.failures == []


def test_a_list_that_goes_stale_between_pages_is_begun_again(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(pool())
        for number in range(1, 260):
            one = pod(1)
            one["metadata"]["name"] = f"vllm-{number:03d}"
            one["status"]["podIP"] = f"10.0.{number // 200}.{number % 200}"
            bench.api.put(one)

        def between(seen: Seen) -> None:
            if "continue=" in seen.target and lists(bench) == 2:
                bench.api.store.compact()

        bench.api.watcher = between
        bench.start(pool="pool")
        await bench.told.until(lambda: bool(bench.told.sets))

    bench = benched(tmp_path, use)

    assert len(bench.told.sets[0]) == 259
    assert bench.counts.failures == ["expired"]


def test_two_collections_in_trouble_are_one_line_until_the_trouble_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        bench.api.forbidden.update({"pods", "inferencepools"})
        bench.api.cut()
        await bench.pauses.number(30)

    with caplog.at_level(logging.WARNING):
        benched(tmp_path, use)

    assert len([one for one in caplog.records if one.msg == "discovery_failed"]) < 8


Fault = Callable[[Bench], None]
FAULTS: tuple[Fault, ...] = (
    lambda bench: bench.api.cut(),
    lambda bench: bench.api.end(),
    lambda bench: bench.api.bookmark(),
    lambda bench: bench.api.store.compact(),
    lambda bench: bench.api.refusals.append(500),
    lambda bench: bench.api.write("pods", b"{garbage\n"),
    lambda bench: None,
)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_the_last_word_is_the_truth(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    async def use(bench: Bench) -> None:
        await begun(bench, 1)
        for _ in range(60):
            number = rng.randint(2, 6)
            known = Key("", "pods", "default", f"vllm-{number}") in bench.api.store.objects
            if known and rng.random() < 0.5:
                bench.api.delete("Pod", f"vllm-{number}")
            else:
                bench.api.put(pod(number, ready=rng.random() < 0.7))
            rng.choice(FAULTS)(bench)
            await asyncio.sleep(0)
        bench.api.refusals.clear()
        bench.api.put(pod(7))
        pods = bench.api.store.of("", "pods", None)
        ready = [one for one in pods if one["status"]["conditions"][0]["status"] == "True"]
        await bench.told.comes(*(f"{one['status']['podIP']}:8000" for one in ready))

    bench = benched(tmp_path, use)

    assert all("10.0.0.1:8000" in names for names in bench.told.names)
    assert re.fullmatch(
        r"(unreachable|refused|expired|invalid|,)*", ",".join(bench.counts.failures)
    )
