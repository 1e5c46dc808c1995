"""The store of answers: bounds, age, the last used, and sharing, as a state machine."""

from collections import OrderedDict

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic import ValidationError

from proxy.flight import Flight, Follower, Head
from proxy.response_cache import ENTRY_BYTES, ResponseCache
from proxy.settings import ResponseCacheSettings

HEAD = Head(lines=b"content-type: application/json\r\n", length=None)
HEAD_BYTES = len(HEAD.lines)
SMALL = {"max_bytes": 2**16, "max_entry_bytes": 20_000, "max_age_s": 10.0}


def put(cache: ResponseCache, key: bytes, body: bytes, now: float = 0.0) -> None:
    flight = cache.lead(key)
    flight.begin(HEAD)
    flight.feed(body)
    cache.complete(flight, now)


def test_an_answer_is_found_until_it_is_too_old() -> None:
    cache = ResponseCache(ResponseCacheSettings.model_validate(SMALL))
    put(cache, b"k", b"body", now=1.0)

    young, old = cache.find(b"k", now=11.0), cache.find(b"k", now=11.5)

    assert young is not None
    assert b"".join(young.pieces) == b"body"
    assert old is None
    assert (cache.stored_bytes, cache.counts.expired, cache.counts.hits) == (0, 1, 1)


def test_the_answer_not_used_for_longest_makes_room() -> None:
    cache = ResponseCache(ResponseCacheSettings.model_validate(SMALL))
    for key in (b"a", b"b", b"c"):
        put(cache, key, b"x" * 19_000)
    cache.find(b"a", now=0.0)

    put(cache, b"d", b"x" * 19_000)

    assert [cache.find(key, 0.0) is not None for key in (b"a", b"b", b"c", b"d")] == [
        *(True, False, True, True)
    ]
    assert cache.counts.evicted == 1


def test_an_answer_too_large_or_failed_or_without_a_head_is_not_kept() -> None:
    cache = ResponseCache(ResponseCacheSettings.model_validate(SMALL))
    put(cache, b"large", b"x" * 20_001)
    failed = cache.lead(b"failed")
    failed.begin(HEAD)
    cache.fail(failed)
    cache.complete(cache.lead(b"empty"), now=0.0)

    assert len(cache) == 0
    assert cache.flights == 0


def test_what_was_cleared_does_not_come_back_with_answers_on_their_way() -> None:
    cache = ResponseCache(ResponseCacheSettings.model_validate(SMALL))
    put(cache, b"a", b"x")
    flight = cache.lead(b"b")
    flight.begin(HEAD)

    cleared = cache.clear()
    cache.complete(flight, now=0.0)

    assert cleared == 1
    assert (len(cache), cache.stored_bytes, cache.flights) == (0, 0, 0)


def test_an_entry_may_not_be_larger_than_all() -> None:
    with pytest.raises(ValidationError, match="max_entry_bytes"):
        ResponseCacheSettings(max_bytes=2**16, max_entry_bytes=2**17)


class Cache(RuleBasedStateMachine):
    """Leaders, followers and repeats of five requests, against a plain model."""

    keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])

    def __init__(self) -> None:
        super().__init__()
        self.cache = ResponseCache(ResponseCacheSettings.model_validate(SMALL))
        self.now = 0.0
        self.flights: dict[bytes, Flight] = {}
        self.sent: dict[bytes, bytes] = {}
        self.followers: list[tuple[Follower, bytes, list[bytes]]] = []
        self.kept: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    @rule(seconds=st.floats(0.0, 6.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=keys)
    def ask(self, key: bytes) -> None:
        found = self.cache.find(key, self.now)
        known = self.kept.get(key)
        if known is not None and self.now - known[1] > 10.0:
            del self.kept[key]
            known = None
        assert (found is None) == (known is None)
        if found is not None and known is not None:
            assert b"".join(found.pieces) == known[0]
            self.kept.move_to_end(key)
            return
        flight = self.cache.flight(key)
        assert (flight is None) == (key not in self.flights)
        if flight is None:
            self.flights[key] = self.cache.lead(key)
            self.flights[key].begin(HEAD)
            self.sent[key] = b""
            return
        follower = flight.join(lambda: None)
        assert (follower is None) == (len(self.sent[key]) > 20_000)
        if follower is not None:
            self.cache.joined()
            self.followers.append((follower, key, []))

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), size=st.integers(1, 15_000))
    def feed(self, data: st.DataObject, size: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.flights)))
        piece = bytes([size % 256]) * size
        self.flights[key].feed(piece)
        self.sent[key] += piece

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        follower, _, got = data.draw(st.sampled_from(self.followers))
        got.append(follower.take())

    @precondition(lambda self: self.followers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        chosen = data.draw(st.integers(0, len(self.followers) - 1))
        follower, _, _ = self.followers.pop(chosen)
        follower.leave()

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), whole=st.booleans())
    def end(self, data: st.DataObject, whole: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.flights)))
        flight, body = self.flights.pop(key), self.sent.pop(key)
        if not whole:
            self.cache.fail(flight)
        else:
            self.cache.complete(flight, self.now)
            if len(body) <= 20_000:
                self.kept.pop(key, None)
                self.kept[key] = body, self.now
                while sum(map(self._bytes, self.kept.values())) > 2**16:
                    self.kept.popitem(last=False)
        self._check_followers(key, body, whole=whole)

    def _check_followers(self, key: bytes, body: bytes, *, whole: bool) -> None:
        """Who was not let go and takes the rest has all of it, or knows that it failed."""
        for follower, its, got in [each for each in self.followers if each[1] == key]:
            lost = follower.state == "failed" and whole
            got.append(follower.take())
            assert body.startswith(b"".join(got))
            if whole and not lost:
                assert (b"".join(got), follower.state) == (body, "complete")
            else:
                assert follower.state == "failed"
            self.followers.remove((follower, its, got))

    @staticmethod
    def _bytes(entry: tuple[bytes, float]) -> int:
        return ENTRY_BYTES + HEAD_BYTES + len(entry[0])

    @invariant()
    def within_bounds(self) -> None:
        assert self.cache.stored_bytes == sum(map(self._bytes, self.kept.values())) <= 2**16
        assert len(self.cache) == len(self.kept)
        for flight in self.flights.values():
            assert sum(map(len, flight.pieces)) <= 2 * 20_000 + 15_000


TestCache = Cache.TestCase
TestCache.settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
