"""Whatever is asked in whatever order, flow control loses and forgets nothing."""

from collections import Counter
from collections.abc import Sequence

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from predictor.types import EndpointState, Measurement, Objective
from scheduler import (
    Action,
    Scheduler,
    SchedulerSettings,
    Shed,
    Wait,
)
from scheduler.words import First, Queued, Served
from tests.scheduler.known_physics import (
    MODEL,
    KnownPhysics,
    Nobody,
    endpoint,
    make_peer,
    make_scheduler,
    request,
)
from tests.scheduler.tiered import TIERS


class Conservation(RuleBasedStateMachine):
    """Every routed request ends exactly once, and nothing of it stays behind."""

    requests: Bundle[str] = Bundle("requests")
    MOST = 6
    NAMES = ("a:1", "b:1", "c:1")

    def __init__(self) -> None:
        super().__init__()
        self.settings = SchedulerSettings(
            tiers=TIERS, max_waiting_requests=self.MOST, max_waiting_bytes=30_000, max_wait_s=5.0
        )
        self.scheduler = self.make([endpoint(name, max_seqs=3) for name in self.NAMES])
        self.now = 0.0
        self.numbers = 0
        self.state: dict[str, str] = {}  # waiting, dispatched, ended
        self.reasons: Counter[str] = Counter()

    def make(self, states: Sequence[EndpointState]) -> Scheduler:
        return make_scheduler(KnownPhysics({"b:1": 3e-4}), states, self.settings)

    def carry_out(self, action: Action) -> None:
        name = action.request_id
        assert self.state.get(name) != "ended"
        if isinstance(action, Shed):
            assert action.reason == action.record.refused
            self.state[name] = "ended"
        else:
            self.state[name] = "waiting" if isinstance(action, Wait) else "dispatched"

    @rule(
        target=requests,
        count=st.integers(1, 4),
        tier=st.sampled_from(sorted(TIERS)),
        tenant=st.sampled_from(["x", "y", None]),
        priority=st.sampled_from([-5, 0, 5]),
        tokens=st.integers(0, 4000),
        ttft_s=st.sampled_from([None, 0.001, 0.3, 30.0]),
        only=st.sampled_from([None, frozenset({"b:1"})]),
    )
    def arrive(
        self,
        count: int,
        tier: str,
        tenant: str | None,
        priority: int,
        tokens: int,
        ttft_s: float | None,
        only: frozenset[str] | None,
    ) -> object:
        names = []
        for _ in range(count):
            self.numbers += 1
            name = f"r{self.numbers}"
            asked = request(
                name,
                arrived_s=self.now,
                tier=tier,
                tenant=tenant,
                priority=priority,
                prompt_bytes=4 * tokens,
                streamed=True,
                objective=Objective(ttft_s=ttft_s),
                allowed_endpoints=only,
            )
            self.carry_out(self.scheduler.route(asked, self.now))
            names.append(name)
        return multiple(*names)

    @rule(name=requests)
    def token(self, name: str) -> None:
        if self.state[name] == "dispatched":
            self.scheduler.first_token(name, self.now)

    @rule(
        name=consumes(requests),
        outcome=st.sampled_from(["completed", "client_gone", "upstream_error", "cut"]),
    )
    def end(self, name: str, outcome: str) -> None:
        if self.state[name] == "ended":
            return
        if self.state[name] == "waiting":
            outcome = "client_gone"
        done = Measurement(outcome=outcome, output_tokens=5)  # type: ignore[arg-type]  # drawn
        self.scheduler.finished(name, done, self.now)
        self.state[name] = "ended"

    @rule(name=requests)
    def fail(self, name: str) -> None:
        if self.state[name] == "dispatched":
            self.carry_out(self.scheduler.reroute(name, self.now))

    @rule(seconds=st.floats(0.0, 4.0))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        for action in self.scheduler.tick(self.now):
            assert self.state[action.request_id] == "waiting"
            self.carry_out(action)

    @rule(up=st.sets(st.sampled_from(NAMES)), drain=st.booleans())
    def change(self, up: set[str], drain: bool) -> None:
        self.scheduler.update(
            [
                endpoint(name, up=name in up, draining=drain, max_seqs=3, scraped_s=self.now)
                for name in self.NAMES
            ]
        )

    @invariant()
    def counts_agree(self) -> None:
        counts = Counter(self.state.values())
        assert self.scheduler.waiting_requests == counts["waiting"] <= self.MOST
        assert self.scheduler.inflight_requests == counts["dispatched"]
        assert self.scheduler._queue.waiting_bytes <= 30_000

    def teardown(self) -> None:
        for _ in range(20):  # whoever waits has an answer within its bound
            self.now += 5.0
            for action in self.scheduler.tick(self.now):
                self.carry_out(action)
        assert "waiting" not in self.state.values()
        for name, state in self.state.items():
            if state == "dispatched":
                self.scheduler.finished(name, Measurement(outcome="completed"), self.now)
        scheduler = self.scheduler
        assert (scheduler.waiting_requests, scheduler.inflight_requests) == (0, 0)
        assert scheduler._queue.waiting_bytes == 0
        assert not scheduler._queue._bounds._count_of
        assert all(not fleet.promises for fleet in scheduler.fleets.values())
        assert not scheduler._live


class ConservationAmongOthers(Conservation):
    """The same where others say that it is their turn, and may take it or not."""

    def make(self, states: Sequence[EndpointState]) -> Scheduler:
        self.told: list[Queued] = []
        predictor = KnownPhysics({"b:1": 3e-4})
        self.peer = make_peer(
            Nobody(), states, self.settings, predictor=predictor, order=self.told.append
        )
        return self.peer

    @rule(
        writer=st.integers(1, 3),
        priority=st.integers(-10, 10),
        start_s=st.none() | st.floats(0, 50),
        due_s=st.floats(0, 50),
        virtual_s=st.floats(0, 50),
    )
    def another_is_first(
        self, writer: int, priority: int, start_s: float | None, due_s: float, virtual_s: float
    ) -> None:
        first = First(MODEL, priority, start_s, due_s, virtual_s)
        self.peer.heard(writer, first, self.now)

    @rule(
        tenant=st.sampled_from(["x", "y", None]),
        start_s=st.floats(0, 50),
        was_first=st.booleans(),
        after_long=st.none() | st.integers(-10, 10),
    )
    def another_was_served(
        self, tenant: str | None, start_s: float, was_first: bool, after_long: int | None
    ) -> None:
        self.peer.heard(1, Served(MODEL, 0, tenant, start_s, 1.0, was_first, after_long), self.now)

    @rule(writer=st.integers(1, 3))
    def another_is_gone(self, writer: int) -> None:
        self.peer.lost(writer)

    def teardown(self) -> None:
        super().teardown()
        last = {word.priority: word for word in self.told if isinstance(word, First)}
        assert all(first.start_s is None for first in last.values())


for machine in (Conservation, ConservationAmongOthers):
    machine.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=40)
TestConservation = Conservation.TestCase
TestConservationAmongOthers = ConservationAmongOthers.TestCase
