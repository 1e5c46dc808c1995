"""Each fault alone, as the storm makes it: the router sees it, and gets over it.

Those that have to wait for a model to be trained or for intervals of the service to pass, 5 to
20 s each, are run by ``make test-all`` alone. What they show of a running service quicker tests
show of its parts: versions that must not be served ``tests/foretoken/test_unusable_versions.py``,
a disk that is full ``tests/collectors/test_trace.py`` and the last fault here, endpoints that
come and go ``tests/foretoken/test_membership.py``; a clock that is stepped has no quicker one.
"""

import time
from collections.abc import Iterator
from random import Random

import pytest
from _pytest.mark import ParameterSet

from benchmarks.storm.disk import Limit
from benchmarks.storm.fault import Fault, Injection, Scene
from benchmarks.storm.ledger import read_ledger
from benchmarks.storm.place import Place
from benchmarks.storm.seen import log_lines, samples, total, until
from benchmarks.storm.storm import FAULTS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

HOLD_S = 1.0
LONG = {
    "model truncated",
    "model of another schema",
    "clock stepped",
    "trace disk full",
    "endpoint list flapping",
}


def each() -> Iterator[ParameterSet]:
    """Give the faults, those that take long marked."""
    assert {fault.kind for fault in FAULTS} >= LONG
    for fault in FAULTS:
        marks = [pytest.mark.real] if fault.kind in LONG else []
        yield pytest.param(fault, marks=marks, id=fault.kind.replace(" ", "-"))


def scene(place: Place, fault: Fault) -> Scene:
    injection = Injection(kind=fault.kind, began_s=time.time())
    return Scene(place=place, rng=Random(1), hold_s=HOLD_S, injection=injection)


@pytest.mark.parametrize("fault", list(each()))
async def test_a_fault_is_seen_and_survived(place: Place, fault: Fault) -> None:
    missing = fault.missing(place)
    if missing is not None:
        pytest.skip(missing)

    await fault.happen(scene(place, fault))

    page = await samples(place, place.routers[0])
    assert total(page, "foretoken_endpoint_up") == len(place.endpoints)


async def test_files_that_may_not_grow_cost_rows_and_no_request(place: Place) -> None:
    router = place.routers[0]
    limit = Limit(router.server)
    before = total(await samples(place, router), "foretoken_trace_dropped_total")

    async def dropped() -> bool:
        page = await samples(place, router)
        return total(page, "foretoken_trace_dropped_total") > before

    limit.fill()
    await until("rows are dropped and counted", dropped)
    limit.empty()

    async def writes() -> bool:
        return any((router.folder / "traces").glob(".trace-*.tmp"))

    await until("it writes again", writes)


async def test_afterwards_no_request_was_lost_and_none_is_in_flight(place: Place) -> None:
    async def answered() -> bool:
        begun = place.ledger.exists()
        return begun and any(one.end == "answered" for one in read_ledger(place.ledger))

    await until("some request was answered", answered)
    await place.load_ends()

    ends = [entry.end for entry in read_ledger(place.ledger)]
    page = await samples(place, place.routers[0])
    lines = list(log_lines(place.routers[0].server.log))
    assert "nothing" not in ends
    assert total(page, "foretoken_inflight_requests") == 0
    assert [line for line in lines if isinstance(line, str)] == []
