"""An endpoint that alone refuses everything gets no traffic; a wrong client harms none."""

import pytest

from predictor.types import Measurement
from scheduler import Dispatch, Scheduler
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

SERVED = Measurement(outcome="completed", prompt_tokens=10, output_tokens=2, status=200)
SPEED = {"bad:1": 1e-5, "b:1": 1e-4, "c:1": 1e-4}  # the one that refuses looks best


class Fleet:
    """Requests one after the other, each answered by where it went and who asked."""

    def __init__(self, *names: str) -> None:
        speed = {name: SPEED.get(name, 1e-4) for name in names}
        self.scheduler: Scheduler = make_scheduler(
            KnownPhysics(speed), [endpoint(name) for name in names]
        )
        self.count = 0

    def ask(
        self,
        status: int,
        *,
        at: frozenset[str] = frozenset({"bad:1"}),
        now: float = 0.0,
        **kw: object,
    ) -> str:
        self.count += 1
        action = self.scheduler.route(request(f"r{self.count}", **kw), now)
        assert isinstance(action, Dispatch)
        refused = Measurement(outcome="client_error", status=status)
        answer = refused if action.endpoint in at else SERVED
        self.scheduler.finished(f"r{self.count}", answer, now)
        return action.endpoint


def only(name: str) -> dict[str, object]:
    return {"allowed_endpoints": frozenset({name})}


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_what_others_serve_draws_no_more_traffic(status: int) -> None:
    fleet = Fleet("bad:1", "b:1", "c:1")
    fleet.ask(200, **only("b:1"))

    answers = [fleet.ask(status) for _ in range(20)]

    assert answers[:5] == ["bad:1"] * 5
    assert "bad:1" not in answers[5:]
    assert fleet.scheduler.suspicion("bad:1", 0.0) == "refusing"


def test_where_nobody_has_served_anything_the_clients_are_at_fault() -> None:
    fleet = Fleet("bad:1", "b:1", "c:1")

    answers = [fleet.ask(401) for _ in range(20)]

    assert answers == ["bad:1"] * 20


def test_it_is_tried_again_after_a_while_and_left_alone_longer() -> None:
    fleet = doubted()

    tried = fleet.ask(401, now=0.6)
    shunned = fleet.ask(401, now=1.5)
    mended = fleet.ask(200, at=frozenset(), now=1.7)

    assert (tried, shunned, mended) == ("bad:1", "b:1", "bad:1")
    assert fleet.scheduler.suspicion("bad:1", 1.7) is None


def test_a_scrape_does_not_clear_it() -> None:
    fleet = doubted()

    fleet.scheduler.update([endpoint("bad:1", scraped_s=0.2), endpoint("b:1", scraped_s=0.2)])

    assert fleet.scheduler.suspicion("bad:1", 0.3) == "refusing"


def test_refusals_seen_everywhere_doubt_nobody() -> None:
    fleet = Fleet("bad:1", "b:1", "c:1")
    everywhere = frozenset(SPEED)

    for _ in range(30):
        for name in SPEED:
            fleet.ask(401, at=everywhere, **only(name))
            fleet.ask(200, at=frozenset(), **only(name))
            fleet.ask(401, at=everywhere, **only(name))

    assert [fleet.scheduler.suspicion(name, 0.0) for name in SPEED] == [None] * 3


def test_a_wrong_client_that_moves_on_leaves_all_endpoints_trusted() -> None:
    names = ("a:1", "b:1", "c:1", "d:1")
    fleet = Fleet(*names)
    for name in names:
        fleet.ask(200, at=frozenset(), **only(name))

    doubted_by = []
    for name in names[:3]:
        for _ in range(5):
            fleet.ask(401, at=frozenset(names), **only(name))
        doubted_by.append([fleet.scheduler.suspicion(each, 0.0) for each in names])

    assert doubted_by[0] == ["refusing", None, None, None]
    assert doubted_by[2] == [None] * 4


def test_errors_in_the_request_itself_never_count() -> None:
    fleet = Fleet("bad:1", "b:1")
    for _ in range(20):
        fleet.ask(200, **only("b:1"))

    answers = [fleet.ask(400) for _ in range(20)]

    assert answers == ["bad:1"] * 20


def test_an_endpoint_that_left_is_forgotten() -> None:
    fleet = doubted()

    fleet.scheduler.update([endpoint("b:1")])
    fleet.scheduler.update([endpoint("bad:1"), endpoint("b:1")])

    assert fleet.ask(401) == "bad:1"
    assert fleet.scheduler.suspicion("bad:1", 0.0) is None


def doubted() -> Fleet:
    """A fleet of two in which one has just been found to refuse everything."""
    fleet = Fleet("bad:1", "b:1")
    fleet.ask(200, **only("b:1"))
    for _ in range(5):
        fleet.ask(401)
    assert fleet.scheduler.suspicion("bad:1", 0.0) == "refusing"
    return fleet
