"""Several requests share one answer on its way."""

from proxy.flight import Flight, Follower, Head

HEAD = Head(lines=b"content-type: text/event-stream\r\n", length=None)


class Client:
    """A follower that takes what there is at once, or when it likes."""

    def __init__(self, flight: Flight, *, slow: bool = False) -> None:
        self.got = b""
        self.news = 0
        self.slow = slow
        follower = flight.join(self.on_news)
        assert follower is not None
        self.follower: Follower = follower

    def on_news(self) -> None:
        self.news += 1
        if not self.slow:
            self.got += self.follower.take()


def test_a_follower_gets_all_from_the_start_whenever_it_comes() -> None:
    flight = Flight(b"k", 1000)
    early = Client(flight)
    flight.begin(HEAD)
    flight.feed(b"one ")
    late = Client(flight, slow=True)

    flight.feed(b"two")
    flight.finish("complete")
    before_taking = late.follower.state
    late.on_news()
    late.got += late.follower.take()

    assert (early.got, early.follower.state) == (b"one two", "complete")
    assert (late.got, before_taking, late.follower.state) == (b"one two", "open", "complete")
    assert late.follower.head == HEAD


def test_a_failure_tells_who_has_taken_nothing_yet() -> None:
    flight = Flight(b"k", 1000)
    started, waiting = Client(flight), Client(flight, slow=True)
    flight.begin(HEAD)
    flight.feed(b"one")

    flight.finish("failed")

    assert (started.follower.state, started.follower.begun) == ("failed", True)
    assert (waiting.follower.state, waiting.follower.begun) == ("failed", False)


def test_past_the_bound_nobody_joins_and_those_who_keep_up_go_on() -> None:
    flight = Flight(b"k", 10)
    client = Client(flight)

    for _ in range(100):
        flight.feed(b"1234")
    flight.finish("complete")

    assert flight.join(lambda: None) is None
    assert client.got == b"1234" * 100
    assert flight.pieces == ()


def test_who_lags_too_far_behind_is_let_go_and_memory_stays_bounded() -> None:
    flight = Flight(b"k", 10)
    quick, slow = Client(flight), Client(flight, slow=True)

    kept = 0
    for _ in range(100):
        flight.feed(b"1234")
        kept = max(kept, sum(map(len, flight.pieces)))

    assert slow.follower.state == "failed"
    assert quick.got == b"1234" * 100
    assert kept <= 16
    assert flight.followers == 1


def test_a_leader_whose_client_has_gone_hears_when_nobody_follows_any_more() -> None:
    flight = Flight(b"k", 1000)
    one, other = Client(flight), Client(flight)
    deserted: list[bool] = []
    flight.on_deserted = lambda: deserted.append(True)

    one.follower.leave()
    after_one = list(deserted)
    other.follower.leave()
    other.follower.leave()

    assert (after_one, deserted) == ([], [True])


def test_followers_may_leave_when_they_are_told() -> None:
    flight = Flight(b"k", 1000)
    clients = [Client(flight) for _ in range(3)]
    clients[0].follower.on_news = clients[0].follower.leave

    flight.feed(b"x")

    assert [client.got for client in clients] == [b"", b"x", b"x"]
    assert flight.followers == 2
