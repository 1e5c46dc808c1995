"""What routers make of what they tell each other, without a server in between."""

import math
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretoken.departures import GONE_S
from foretoken.routers.exchange import ABSENT_S, MOST_UNTOLD
from foretoken.routers.frames import MAGIC, MOST_FRAME_BYTES, VERSION, read, written
from foretoken.trainer_protocol import Report
from foretoken.workers.messages import Fed, Lesson, Trained
from scheduler.bookings import NOTHING, Bookings
from scheduler.words import Left, Sent, Shown, Suspected
from tests.foretoken.routers.exchanging import Router, move, one_frame, spread

SENT = Sent("r", "m", "a:1", "m", "talk", (1, 2, 3), 1.0, None, 0)


def test_a_booking_is_added_to_everybody_elses_row_and_to_nobodys_own() -> None:
    one, two, three = routers = [Router(name) for name in ("one", "two", "three")]
    spread(*routers)

    one.rows.booked("a:1", Bookings(inflight_requests=2.0))
    two.rows.booked("a:1", Bookings(inflight_requests=3.0, queued_requests=1, oldest_queued_s=7.0))
    spread(*routers)

    assert one.seen()["a:1"] == (3.0, 7.0)
    assert two.seen()["a:1"] == (2.0, math.inf)
    assert three.seen()["a:1"] == (5.0, 7.0)


def test_instants_arrive_by_the_clock_of_whoever_hears_them() -> None:
    early, late = Router("early", ahead_s=-500.0), Router("late", ahead_s=4000.0)
    spread(early, late)

    early.rows.booked("a:1", Bookings(1.0, 1.0, oldest_queued_s=early.clock() - 3.0))
    spread(early, late)

    _, oldest_s = late.seen()["a:1"]
    assert late.clock() - oldest_s == pytest.approx(3.0)


def test_nothing_is_told_where_nothing_has_changed() -> None:
    router = Router("one")
    router.exchange.take()

    assert router.exchange.take() is None
    router.rows.booked("a:1", Bookings(1.0))
    assert router.exchange.take() is not None
    assert router.exchange.take() is None


def test_who_falls_silent_loses_its_rows_and_promises() -> None:
    one, two = Router("one"), Router("two")
    one.rows.booked("a:1", Bookings(1.0))
    spread(one, two)
    assert two.seen()["a:1"][0] == 1.0

    move(ABSENT_S + 0.01, one, two)
    two.exchange.expire()

    assert two.seen() == {"a:1": (0.0, math.inf)}
    assert two.ear.gone == [one.exchange.name.key]
    assert two.exchange.routers == set()


def test_a_sign_of_life_keeps_rows() -> None:
    one, two = Router("one"), Router("two")
    one.rows.booked("a:1", Bookings(1.0))
    spread(one, two)
    two.seen()

    for _ in range(5):
        move(ABSENT_S / 2, one, two)
        one.exchange.tell_whole()
        spread(one, two)
        two.exchange.expire()

    assert two.seen() == {}
    assert two.ear.gone == []


def test_who_starts_again_under_its_name_begins_with_nothing() -> None:
    before, two = Router("one", life=1), Router("two")
    before.rows.booked("a:1", Bookings(4.0))
    spread(before, two)

    after = Router("one", life=2)
    spread(after, two)

    assert two.seen()["a:1"][0] == 0.0
    assert two.ear.gone == [before.exchange.name.key]


def test_whole_frames_mend_what_was_missed() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)
    one.rows.booked("a:1", Bookings(1.0))
    spread(one, two)
    one.rows.booked("a:1", NOTHING)
    one.rows.booked("b:1", Bookings(2.0))
    one.exchange.take()  # lost on its way

    one.exchange.tell_whole()
    spread(one, two)

    assert {name: sums[0] for name, sums in two.seen().items()} == {"a:1": 0.0, "b:1": 2.0}


def test_promises_whose_end_was_missed_are_forgotten() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)
    one.exchange.tell(SENT)
    spread(one, two)
    known_before = list(two.ear.gone)

    one.exchange.end()  # cut off, and back before anybody takes it for gone
    one.exchange.tell(Left("r"))
    one.exchange.begin()
    spread(one, two)

    assert known_before == []
    assert two.ear.gone == [one.exchange.name.key]
    assert two.exchange.routers == {"one"}


def test_what_is_heard_a_second_time_counts_once() -> None:
    one, two, late = Router("one"), Router("two"), Router("late")
    spread(one, two)
    one.exchange.tell_whole()
    one.exchange.tell(SENT)
    (left_behind,) = spread(one, two)
    one.exchange.tell(Left("r"))
    one.rows.booked("a:1", Bookings(1.0))
    (then,) = spread(one, two)
    two.ear.take()

    two.exchange.came(left_behind)
    for frame in (then, left_behind):
        late.exchange.came(frame)

    assert two.ear.take() == []
    assert two.ear.gone == []
    assert late.ear.take() == [Left("r")]
    assert late.seen()["a:1"][0] == 1.0


def test_an_endpoint_that_left_has_a_row_until_its_last_request_ends() -> None:
    router = Router("one")
    router.rows.follow(["a:1"])

    router.rows.booked("b:1", Bookings(1.0, dispatches_per_s=0.1))
    running = router.rows.take_all()
    router.rows.booked("b:1", Bookings(0.0, dispatches_per_s=0.1))

    assert list(running) == ["b:1"]
    assert router.rows.take() == {"b:1": NOTHING}
    assert router.rows.take_all() == {}


def test_workers_of_one_router_do_not_count_each_other_twice() -> None:
    first, second, other = Router("one", worker=0), Router("one", worker=1), Router("two")
    routers = (first, second, other)
    first.rows.booked("a:1", Bookings(1.0))
    second.rows.booked("a:1", Bookings(2.0))
    first.exchange.tell(SENT)
    spread(*routers)

    assert first.seen()["a:1"][0] == second.seen()["a:1"][0] == 0.0
    assert other.seen()["a:1"][0] == 3.0
    assert second.ear.take() == []
    assert other.ear.take() == [SENT]


def test_words_arrive_as_they_were_said_and_in_order() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)
    lesson = Lesson("a:1", "m", None, 1.0, b"", 0.1, None, None, None, None, "fully",
                    None, None, None, None, None)  # fmt: skip
    words = [
        SENT,
        Shown("m", "a:1", None, "talk", 100, 10, 5, 0.0, 0),
        Left("r"),
        Suspected("a:1", "failing"),
        lesson,
    ]

    for word in words:
        one.exchange.tell(word)
    spread(one, two)

    assert two.ear.take() == words


def test_a_request_without_an_objective_needs_no_name() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)

    one.exchange.tell(msgspec.structs.replace(SENT, ttft_s=None))
    spread(one, two)

    assert two.ear.take() == [msgspec.structs.replace(SENT, ttft_s=None, request_id="")]


def test_later_turns_of_a_conversation_cost_few_bytes_whoever_has_them() -> None:
    routers = [Router(name) for name in ("one", "two", "three")]
    spread(*routers)
    chain: tuple[int, ...] = tuple(random.Random(1).getrandbits(64) for _ in range(400))
    sizes: list[int] = []

    for turn, length in enumerate((300, 320, 350, 400)):
        sent = msgspec.structs.replace(SENT, block_hashes=chain[:length])
        routers[turn % 3].exchange.tell(sent)
        sizes.append(sum(map(len, spread(*routers))))
        heard = [router.ear.take() for router in routers]
        assert heard.count([sent]) == 2

    assert sizes[0] > 300 * 8
    assert max(sizes[1:]) < 50 * 8 + 300


def test_a_beginning_that_somebody_does_not_know_is_told_again() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)
    one.exchange.tell(SENT)
    one.exchange.take()  # lost on its way
    longer = msgspec.structs.replace(SENT, block_hashes=(1, 2, 3, 4))

    one.exchange.tell(longer)
    spread(one, two)
    one.exchange.tell(longer)
    spread(one, two)

    missing, whole = two.ear.take()
    assert missing == msgspec.structs.replace(SENT, block_hashes=())  # its session counts
    assert whole == longer
    assert two.exchange.counts.unresolved == 1


def test_who_comes_later_is_told_beginnings_anew() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)
    one.exchange.tell(SENT)
    spread(one, two)

    late = Router("late")
    spread(one, two, late)
    one.exchange.tell(SENT)
    spread(one, two, late)

    assert late.ear.take() == [SENT]


def test_a_drain_reaches_everybody_and_outlives_whoever_said_it() -> None:
    one, two = Router("one"), Router("two", ahead_s=50.0)
    spread(one, two)

    one.exchange.decree("a:1", draining=True)
    spread(one, two)
    move(ABSENT_S * 2, two)
    two.exchange.expire()
    two.exchange.tell_whole()
    late = Router("late")
    spread(two, late)

    assert two.ear.wanted == late.ear.wanted == {"a:1": True}


def test_of_two_decrees_the_later_one_holds() -> None:
    one, two, three = Router("one"), Router("two", ahead_s=-70.0), Router("three")
    one.exchange.decree("a:1", draining=True)
    move(1.0, two)
    two.exchange.decree("a:1", draining=False)

    spread(one, two, three)

    assert one.ear.wanted == {"a:1": False}
    assert two.ear.wanted == {}
    assert {router.exchange.decrees.draining("a:1") for router in (one, two, three)} == {False}


def test_what_cannot_be_told_is_counted_and_forgotten() -> None:
    router = Router("one")
    router.exchange.take()

    for _ in range(MOST_UNTOLD + 5):
        router.exchange.tell(Left("r"))
    router.exchange.end()
    router.exchange.tell(Left("r"))
    fed = router.exchange.feed(Fed(None))  # type: ignore[arg-type]  # never looked at

    assert router.exchange.counts.dropped == MOST_UNTOLD + 6
    assert not fed
    router.exchange.begin()
    assert read(router.exchange.take() or b"").said == []


def test_what_is_none_of_ours_is_ignored_and_counted() -> None:
    one, two = Router("one"), Router("two")
    spread(one, two)
    good = read(one_frame(one))
    bad_row = msgspec.structs.replace(good, rows={"a:1": (math.nan,) * 13})
    short_row = msgspec.structs.replace(good, number=good.number + 1, rows={"a:1": (1.0,)})
    later = msgspec.structs.replace(good, version=VERSION + 1)
    damaged = msgspec.msgpack.encode([MAGIC, VERSION, "not a name"])

    for frame in (b"", b"\x00", b"hello", b"\xff" * 100, msgspec.msgpack.encode({"a": 1})):
        two.exchange.came(frame)
    two.exchange.came(written(later))
    two.exchange.came(damaged)
    two.exchange.came(written(bad_row))
    two.exchange.came(written(short_row))
    two.exchange.came(bytes(MOST_FRAME_BYTES + 1))

    assert dict(two.exchange.counts.ignored) == {
        "foreign": 5,
        "other_version": 1,
        "unreadable": 3,
        "too_long": 1,
    }
    assert {sums[0] for sums in two.seen().values()} <= {0.0}


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_harm(garbage: bytes, cut: int) -> None:
    one, two = Router("one"), Router("two")
    one.rows.booked("a:1", Bookings(1.0))
    one.exchange.tell(SENT)
    frame = one_frame(one)

    two.exchange.came(garbage)
    two.exchange.came(frame[:cut] + garbage)
    two.exchange.came(frame[: -(cut % len(frame)) or None])

    assert all(sums[0] in {0.0, 1.0} for sums in two.seen().values())


def test_a_namesake_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    one, namesake = Router("one", life=1), Router("one", life=2)

    spread(one, namesake)
    one.exchange.tell_whole()
    namesake.exchange.tell_whole()
    spread(one, namesake)

    assert [record.msg for record in caplog.records].count("router_name_taken") == 2


def test_what_another_store_was_trained_comes_to_is_not_ours_to_report() -> None:
    one, two, apart = Router("one"), Router("two"), Router("apart", store="another")
    spread(one, two, apart)
    report = Trained(Report(fleet="m", seconds=1.0, rows=1, accepted=True))

    one.exchange.tell(report)
    spread(one, two, apart)

    assert two.ear.take() == [report]
    assert apart.ear.take() == []


def test_what_was_said_of_an_endpoint_goes_with_it() -> None:
    one, two = Router("one"), Router("two")
    one.exchange.decree("a:1", draining=True)
    spread(one, two)
    decrees = two.exchange.decrees

    decrees.follow(["a:1"], now=0.0)
    decrees.follow([], now=1.0)
    decrees.follow(["a:1"], now=1.0 + GONE_S / 2)  # a restart
    restarted = decrees.draining("a:1")
    decrees.follow([], now=100.0)
    decrees.follow([], now=100.0 + GONE_S)
    one.exchange.tell_whole()  # whoever has not seen it go says so still
    spread(one, two)
    another = decrees.draining("a:1")
    move(1.0, one, two)
    one.exchange.decree("a:1", draining=True)
    spread(one, two)

    assert restarted is True
    assert another is None
    assert decrees.draining("a:1") is True


def test_a_later_lease_outranks_ours() -> None:
    one, two, other = Router("one"), Router("two"), Router("other", store="elsewhere")
    one.exchange.token, two.exchange.token, other.exchange.token = 5, 6, 7
    spread(one, two, other)

    assert one.exchange.outranked()
    assert not two.exchange.outranked()
    assert not other.exchange.outranked()
