"""One endpoint in virtual time: its engine, when that next needs attention, its faults.

Decides when the driver has to look at an engine again. An endpoint that is down takes
no request and answers no scrape.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from predictor.counters import CounterRates
from predictor.types import EndpointState
from simulator.engine import Engine
from simulator.fleets import Crash, EndpointSpec, Fault, FleetSpec, Flush, Hang, Replace, SlowDown
from simulator.kv_tier import KvTier
from simulator.profiles import Profile, profile
from simulator.types import SimRequest, Token


class VirtualEndpoint:
    """Run one engine in virtual time.

    Args:
        spec: What it is.
        make_engine: Makes an engine of it on hardware of a profile.
        model: Model it serves.
        hardware: Label the scheduler is told, ``None`` for none.
        shared_kv_tokens: What the storage holds that it shares, ``None`` without.
        wake: Asks the driver to call its :meth:`attend` at a time.
    """

    def __init__(
        self,
        spec: EndpointSpec,
        make_engine: Callable[[Profile], Engine],
        *,
        model: str,
        hardware: str | None,
        shared_kv_tokens: int | None,
        wake: Callable[["VirtualEndpoint", float], None],
    ) -> None:
        self.spec = spec
        self._make_engine = make_engine
        self.engine = make_engine(spec.profile)
        self.up = True
        self._rates = CounterRates()
        self._unseen = EndpointState(
            endpoint=spec.name,
            url=f"http://{spec.name}",
            model=model,
            hardware=hardware,
            max_batched_tokens=spec.engine.max_num_batched_tokens
            or spec.profile.max_num_batched_tokens,
            max_seqs=spec.engine.max_num_seqs,
            cpu_kv_tokens=spec.engine.cpu_tier_tokens,
            shared_kv_tokens=shared_kv_tokens,
            priority_class=spec.priority_class,
        )
        self._wake = wake
        self._due_s: float | None = None
        self._usual_speed = self.engine.speed

    def submit(self, request: SimRequest, now: float) -> bool:
        """Take in a request; false if the endpoint is down."""
        if not self.up:
            return False
        self.engine.submit(request, now)
        self._plan(now)
        return True

    def attend(self, now: float) -> list[Token]:
        """End what is due and begin what comes next; give first and last tokens.

        A call that is not due, because the plan has changed since, does nothing.
        """
        if now != self._due_s:
            return []
        self._due_s = None
        tokens = self.engine.end_stretch(now) if self.engine.ends_s == now else []
        self._plan(now)
        return tokens

    def state(self, now: float) -> EndpointState:
        """Give what a scrape at ``now`` sees."""
        if not self.up:
            return self._unseen
        engine = self.engine
        engine.settle(now)
        counters = engine.counters
        seen = replace(
            self._unseen,
            up=True,
            running_requests=engine.running_requests,
            waiting_requests=engine.waiting_requests,
            kv_cache_usage=engine.kv_cache_usage,
            kv_capacity_tokens=engine.kv_blocks * engine.block_size,
            block_size=engine.block_size,
            preemptions_total=counters.preemptions,
            prefix_hits_total=counters.prefix_hits,
            prefix_queries_total=counters.prefix_queries,
            scraped_s=now,
        )
        return self._rates.apply(seen)

    def progress(self, request_id: str, now: float) -> tuple[int, float] | None:
        """Count the tokens a stream has by ``now``, and tell when the last of them came.

        ``None`` while it does not decode.
        """
        engine = self.engine.snapshot(now)
        for one in engine.decoding:
            if one.request.request_id == request_id:
                tokens = one.generated + engine.decoded_steps - one.joined
                return tokens, now if engine.step_s is None else engine.step_s[0]
        return None

    def fault(self, fault: Fault, now: float) -> list[str]:
        """Let a fault begin; give the requests it loses."""
        lost: list[str] = []
        self.engine.cut(now)
        match fault:
            case SlowDown():
                self.engine.speed = self._usual_speed / fault.factor
            case Hang():
                self.engine.hang(now, fault.until_s)
            case Crash():
                lost, self.up, self._due_s = self.engine.crash(), False, None
            case Flush():
                self.engine.flush()
            case Replace():
                lost = self.engine.crash()
                self._become(profile(fault.profile))
        self._plan(now)
        return lost

    def recover(self, now: float) -> None:
        """Let a fault end."""
        self.engine.cut(now)
        self.up, self.engine.speed = True, self._usual_speed
        self._plan(now)

    def restart(self, now: float) -> None:
        """Be there anew, with nothing on it."""
        self._become(self.spec.profile)
        self.up = True
        self._plan(now)

    def leave(self) -> None:
        """Be gone; nothing may be there any more."""
        self.up, self._due_s = False, None

    def _become(self, hardware: Profile) -> None:
        """Be another machine, with nothing on it, at the same address."""
        steps = self.engine.counters.steps  # the simulator's count, not the machine's
        self.engine, self._due_s = self._make_engine(hardware), None
        self.engine.counters.steps = steps
        self._unseen = replace(
            self._unseen,
            hardware=None if self._unseen.hardware is None else hardware.name,
            max_batched_tokens=self.spec.engine.max_num_batched_tokens
            or hardware.max_num_batched_tokens,
        )

    def _plan(self, now: float) -> None:
        engine = self.engine
        if engine.ends_s is None:
            engine.begin_stretch(now)
        due_s = engine.ends_s
        if due_s is None:
            wake_s = engine.wake_s()
            due_s = None if wake_s is None else max(wake_s, now)
        if due_s is not None and due_s != self._due_s:
            self._due_s = due_s
            self._wake(self, due_s)


def build_endpoints(
    fleet: FleetSpec,
    seed: int,
    *,
    labels: bool,
    wake: Callable[[VirtualEndpoint, float], None],
) -> dict[str, VirtualEndpoint]:
    """Build the endpoints of a fleet, by name, with the storage they share.

    Args:
        fleet: What there is.
        seed: Of their engines' noise.
        labels: Whether the scheduler is told what hardware they run on.
        wake: As for each of them.
    """
    tier = None
    if fleet.shared_tier is not None:
        tier = KvTier(
            capacity_blocks=fleet.shared_tier.tokens // fleet.endpoints[0].engine.block_size,
            load_s_per_token=fleet.shared_tier.load_s_per_token,
        )
    return {
        spec.name: VirtualEndpoint(
            spec,
            _maker(spec, seed, tier),
            model=fleet.model,
            hardware=spec.profile.name if labels else None,
            shared_kv_tokens=fleet.shared_tier.tokens if fleet.shared_tier else None,
            wake=wake,
        )
        for spec in fleet.endpoints
    }


def _maker(spec: EndpointSpec, seed: int, tier: KvTier | None) -> Callable[[Profile], Engine]:
    return lambda hardware: Engine(hardware, spec.engine, Random(f"{seed} {spec.name}"), tier)
