"""Pages and answers of several workers made one."""

import asyncio
import json
import re
import socket
from itertools import chain
from pathlib import Path

import httpx
import pytest

from foretoken.build import build
from foretoken.departures import GONE_S
from foretoken.settings import Settings
from foretoken.workers.asking import Asking, respond
from foretoken.workers.bus import Bus
from foretoken.workers.door import PATIENCE_S, Door
from foretoken.workers.messages import Asked
from foretoken.workers.pages import merged_page, says_how
from foretoken.workers.spec import Spec, divided
from foretoken.workers.table import SharedTable
from foretoken.workers.views import merged, series
from foretoken.workers.whole import Changes

PAGE = """# HELP foretoken_waiting_requests Requests that wait.
# TYPE foretoken_waiting_requests gauge
foretoken_waiting_requests {waiting}
# HELP foretoken_endpoint_scrape_age_seconds Age.
# TYPE foretoken_endpoint_scrape_age_seconds gauge
foretoken_endpoint_scrape_age_seconds{{endpoint="a:1"}} {age}
# HELP foretoken_drift_events_total Drifts.
# TYPE foretoken_drift_events_total counter
foretoken_drift_events_total{{target="ttft"}} {drifts}
# HELP foretoken_e2e_seconds Receipt "to" the end.
# TYPE foretoken_e2e_seconds histogram
foretoken_e2e_seconds_bucket{{le="1.0"}} {count}
foretoken_e2e_seconds_bucket{{le="+Inf"}} {count}
foretoken_e2e_seconds_count {count}
foretoken_e2e_seconds_sum 1.5
# HELP foretoken_e2e_seconds_created When.
# TYPE foretoken_e2e_seconds_created gauge
foretoken_e2e_seconds_created {created}
"""


def page(**values: float) -> bytes:
    return PAGE.format(**values).encode()


def test_each_family_is_merged_by_what_it_is() -> None:
    one = page(waiting=2.0, age=0.2, drifts=3.0, count=5.0, created=100.0)
    other = page(waiting=1.0, age=0.1, drifts=3.0, count=7.0, created=200.0)

    merged_one = merged_page((one, other)).decode()

    expected = PAGE.format(waiting=3.0, age=0.1, drifts=3.0, count=12.0, created=100.0)
    assert merged_one == expected.replace("sum 1.5", "sum 3.0")


def test_a_page_alone_stays_as_it_is() -> None:
    alone = page(waiting=2.0, age=0.2, drifts=3.0, count=5.0, created=100.0)

    assert merged_page((alone,)) == alone


def test_series_that_only_one_worker_has_stay() -> None:
    one = b'# TYPE a_total counter\na_total{x="1"} 1.0\n'
    other = b'# TYPE a_total counter\na_total{x="2"} 2.0\n# TYPE b gauge\nb 4.0\n'

    assert merged_page((one, other)).decode().splitlines() == [
        "# TYPE a_total counter",
        'a_total{x="1"} 1.0',
        'a_total{x="2"} 2.0',
        "# TYPE b gauge",
        "b 4.0",
    ]


def test_openmetrics_pages_keep_the_latest_trace_and_end_once() -> None:
    hostile = r'a_seconds_bucket{le="1.0",x="} # {trace_id=\"a\"} 1 2"}'

    def page(trace: str, at_s: float, count: float) -> bytes:
        exemplar = f'# {{trace_id="{trace * 32}"}} 0.4 {at_s}'
        lines = [
            "# TYPE a_seconds histogram",
            f"{hostile} {count} {exemplar}",
            f"a_seconds_created {at_s}",
            "# TYPE a_things counter",
            "a_things_total 2.0",
            "# EOF",
        ]
        return "".join(f"{line}\n" for line in lines).encode()

    both = merged_page((page("1", 5.0, 2.0), page("2", 9.0, 3.0), page("3", 7.0, 1.0)))

    assert both.decode().splitlines() == [
        "# TYPE a_seconds histogram",
        f'{hostile} 6.0 # {{trace_id="{"2" * 32}"}} 0.4 9.0',
        "a_seconds_created 5.0",
        "# TYPE a_things counter",
        "a_things_total 6.0",
        "# EOF",
    ]


def test_a_name_with_a_line_separator_stays_on_its_line() -> None:
    page = '# TYPE a_total counter\na_total{model_name="m\u2028\x85n"} 2.0\n'.encode()

    assert merged_page((page, page)) == page.replace(b"2.0", b"4.0")


def test_what_every_worker_knows_alike_is_not_added_up() -> None:
    name = "foretoken_endpoint_running_requests"
    page = f'# TYPE {name} gauge\n{name}{{endpoint="a:1"}} 2.0\n'.encode()

    assert merged_page((page, page)) == page


def test_answers_kept_by_all_add_up() -> None:
    name = "foretoken_response_cache_stored_answers"
    page = f"# TYPE {name} gauge\n{name} 2.0\n".encode()

    assert merged_page((page, page)).decode().endswith(f"{name} 4.0\n")


def test_it_is_decided_of_every_gauge_how_it_is_merged(tmp_path: Path) -> None:
    async def scenario() -> str:
        settings = Settings.model_validate(
            {"endpoints": [{"url": "http://127.0.0.1:9"}], "trainer": {"enabled": False}}
        )
        transport = httpx.ASGITransport(build(settings).app)
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as client:
            return (await client.get("/metrics")).text

    gauges = re.findall(r"^# TYPE (\S+) gauge$", asyncio.run(scenario()), re.MULTILINE)

    assert "foretoken_response_cache_stored_answers" in gauges
    assert [gauge for gauge in gauges if not says_how(gauge)] == []


def test_decisions_of_all_are_listed_the_last_finished_first() -> None:
    def decision(name: str, at_s: float) -> dict[str, object]:
        return {"request_id": name, "result": {"finished_at_s": at_s}}

    one = json.dumps([decision("c", 3.0), decision("a", 1.0)]).encode()
    other = json.dumps([decision("d", 4.0), decision("b", 2.0)]).encode()

    listed = json.loads(merged("decisions", [one, other], limit=3))

    assert [each["request_id"] for each in listed] == ["d", "c", "b"]


def test_snapshots_of_the_live_page_add_up() -> None:
    def body(requests: int, since_s: float | None, at_s: float) -> bytes:
        trial = {"model": "m", "policy": "p", "shadow": "s", "same": 1, "chosen_s": 2.0}
        tier = {"tier": "t", "judged": 2, "met": 1, "waiting": 0, "tenants": [], "oldest_s": None}
        whole = {
            "requests": requests,
            "since_at_s": since_s,
            "endpoints": [],
            "models": [{"model": "m", "training": {"alive": requests > 2}}],
            "tiers": [tier],
            "trials": [{**trial, "requests": requests, "shadow_s": 3.0}],
            "decisions": [],
            "series": [],
            "points": [{"at_s": at_s}],
        }
        return json.dumps(whole).encode()

    both = json.loads(merged("snapshot", [body(3, 7.0, 9.0), body(2, 5.0, 8.0)]))
    alone = json.loads(merged("snapshot", [body(0, None, 1.0)]))

    assert (both["requests"], both["since_at_s"]) == (5, 5.0)
    assert (both["models"][0]["training"], len(both["models"])) == ({"alive": True}, 1)
    assert (both["tiers"][0]["judged"], both["tiers"][0]["met"]) == (4, 2)
    assert [(t["requests"], t["same"], t["shadow_s"]) for t in both["trials"]] == [(5, 2, 6.0)]
    assert [point["at_s"] for point in both["points"]] == [8.0, 9.0]
    assert alone["since_at_s"] is None


def test_seconds_count_by_their_requests() -> None:
    def second(requests: int, ttft_s: float | None) -> dict[str, object]:
        unknown = dict.fromkeys(("predicted_ttft_s", "tpot_s", "predicted_tpot_s"))
        return {"at_s": 1.0, "requests": requests, "failed": 1, "ttft_s": ttft_s, **unknown}

    (both,) = series([[second(3, 0.1)], [second(1, 0.5)]])
    (known,) = series([[second(3, None)], [second(1, 0.5)]])

    assert both["requests"] == 4
    assert both["ttft_s"] == pytest.approx(0.2)
    assert both["tpot_s"] is None
    assert known["ttft_s"] == 0.5


def test_changes_played_again_end_where_they_ended() -> None:
    changes = Changes()
    for mode in ("shadow", "predicted", "shadow"):
        changes.add(Asked(0, "PUT", "/foretoken/mode", body=mode.encode()))

    assert [change.body for change in changes.all()] == [b"predicted", b"shadow"]


def test_drains_go_with_an_endpoint_that_is_long_gone() -> None:
    changes = Changes()
    for name in ("http://a:1", "http://b:1"):
        changes.add(Asked(0, "POST", f"/foretoken/endpoints/{name}/drain"))
    changes.add(Asked(0, "DELETE", "/foretoken/endpoints/http://a:1"))

    changes.follow(["http://a:1", "http://b:1"], now=0.0)
    changes.follow(["http://b:1"], now=1.0)
    changes.follow(["http://b:1"], now=1.0 + GONE_S)

    assert [change.path.removeprefix("/foretoken/endpoints/") for change in changes.all()] == [
        "http://b:1/drain",
        "http://a:1",  # removed at run time: it stays so for a worker that begins
    ]


def test_only_so_many_changes_are_kept() -> None:
    changes = Changes()
    for number in range(2000):
        changes.add(Asked(0, "PUT", "/foretoken/mode", body=b"%d" % number))

    kept = changes.all()

    assert (len(kept), kept[-1].body) == (1000, b"1999")


def test_a_question_that_fails_is_answered_500() -> None:
    async def broken(scope: object, receive: object, send: object) -> None:
        raise ValueError

    answer = asyncio.run(respond(broken, Asked(7, "GET", "/x")))

    assert (answer.number, answer.status) == (7, 500)


def test_whoever_cannot_be_asked_has_no_answer(tmp_path: Path) -> None:
    async def scenario() -> object:
        bus = Bus(tmp_path, worker=0, workers=2, fresh=False)
        return await Asking(bus).all([1], Asked(0, "GET", "/metrics"))

    assert asyncio.run(scenario()) == {}


def test_bounds_of_the_whole_are_divided_and_a_bound_of_none_stays() -> None:
    settings = Settings.model_validate(
        {"workers": 3, "scheduler": {"max_waiting_requests": 100, "max_waiting_bytes": 0}}
    )

    one = divided(settings).scheduler

    assert (one.max_waiting_requests, one.max_waiting_bytes) == (34, 0)


def test_a_worker_reads_what_the_supervisor_writes() -> None:
    spec = Spec(
        worker=1,
        restarted=True,
        settings=Settings(workers=2).model_dump_json(),
        config_path=None,
        overrides={"proxy__port": 1},
        folder="/run/foretoken",
        table=3,
        listener=4,
        epoch_offset_s=1.5,
    )

    assert Spec.read(spec.line()) == spec
    assert spec.line().count(b"\n") == 1
    assert spec.config() is None


def test_retries_and_kept_answers_are_divided_too() -> None:
    cache = {"max_bytes": 1_000_000, "max_entry_bytes": 300_000}
    settings = Settings.model_validate(
        {"workers": 2, "proxy": {"response_cache": cache}, "scheduler": {"retries": {}}}
    )

    two, many = divided(settings), divided(settings.model_copy(update={"workers": 8}))

    assert two.scheduler.retries.floor_per_s == settings.scheduler.retries.floor_per_s / 2
    assert two.scheduler.learned_requests_per_s == settings.scheduler.learned_requests_per_s / 2
    assert two.proxy.response_cache.max_bytes == 500_000
    assert many.proxy.response_cache.max_bytes == 300_000
    assert Settings.model_validate(many.model_dump()) == many


class Doors:
    """Doors of several workers at one listening socket, in one loop."""

    def __init__(self, count: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        table = SharedTable.create(count)
        self.now = 1.0
        self.accepted: list[list[socket.socket]] = [[] for _ in range(count)]
        self.doors = []
        self.tables = []
        for worker in range(count):
            own = SharedTable(table.descriptor, workers=count, worker=worker)
            own.join(self.now)
            own.set_ready()
            self.tables.append(own)
            self.doors.append(
                Door(
                    self.listener.dup(),
                    own,
                    count=self.accepted[worker].__len__,
                    admit=self.accepted[worker].append,
                    clock=lambda: self.now,
                )
            )

    def connect(self, count: int) -> list[socket.socket]:
        address = self.listener.getsockname()
        return [socket.create_connection(address) for _ in range(count)]

    def total(self) -> int:
        return sum(map(len, self.accepted))

    def close(self, clients: list[socket.socket]) -> None:
        for door in self.doors:
            door.close()
        for each in (self.listener, *clients, *chain(*self.accepted)):
            each.close()


def test_connections_go_to_whoever_has_the_fewest() -> None:
    async def scenario() -> list[int]:
        doors = Doors(4)
        doors.accepted[0].extend(socket.socket() for _ in range(6))
        doors.doors[0].settle()
        clients = doors.connect(30)
        for door in doors.doors:
            door.open()
        while doors.total() < 36:
            await asyncio.sleep(0.001)
        counts = [len(each) for each in doors.accepted]
        doors.close(clients)
        return counts

    assert asyncio.run(scenario()) == [9, 9, 9, 9]


def test_a_connection_that_the_least_busy_does_not_take_is_taken_by_another() -> None:
    async def scenario() -> int:
        doors = Doors(2)
        doors.accepted[0].append(socket.socket())
        doors.doors[0].settle()
        clients = doors.connect(1)
        doors.doors[0].open()  # the other one is stuck
        for _ in range(5):
            await asyncio.sleep(0.002)
        before = doors.total()
        doors.now += 2 * PATIENCE_S
        while doors.total() == before:
            await asyncio.sleep(0.001)
        doors.close(clients)
        return before

    assert asyncio.run(scenario()) == 1


def test_a_closed_door_lets_nobody_in() -> None:
    async def scenario() -> int:
        doors = Doors(1)
        doors.doors[0].open()
        doors.doors[0].close()
        doors.doors[0].close()
        clients = doors.connect(1)
        await asyncio.sleep(0.005)
        total = doors.total()
        doors.close(clients)
        return total

    assert asyncio.run(scenario()) == 0
