"""Notice requests whose endpoint has fallen silent: nothing for much longer than predicted.

An engine can hang while its server answers health checks. Before the first byte the
predicted time to first token is the measure, afterwards the predicted gap between tokens,
both many times over and never below a floor. An answer that is not streamed says nothing
until its end, however well it goes: it counts only where its endpoint is known to stand
still. Connections know when they last heard, so that a token costs nothing here.

Run by the service; :class:`StallWatch` asks the scheduler, and lets a request of which the
client has seen nothing go elsewhere.
"""

import asyncio
import logging
from collections.abc import Callable

from collectors.in_step import in_step
from predictor.types import Decision
from predictor.values import Value
from proxy.connection import Connection
from proxy.delivery import Delivery
from proxy.relay import Relay
from proxy.settings import StallSettings
from scheduler import Scheduler, gets_on

logger = logging.getLogger(__name__)


class Silence(Value):
    """Describe a request that has not been heard of for a while.

    Attributes:
        seconds: For how long.
        streamed: Whether its tokens can be seen.
        begun: Whether anything of its answer has come.
        ttft_s: Predicted for it where it is, ``None`` for unknown.
        tpot_s: Likewise.
        stands_still: Whether its endpoint is known to.
    """

    seconds: float
    streamed: bool
    begun: bool = False
    ttft_s: float | None = None
    tpot_s: float | None = None
    stands_still: bool = False


def is_overdue(silence: Silence, settings: StallSettings) -> bool:
    """Say whether a request has been silent for too long.

    >>> settings = StallSettings(factor=10.0, floor_s=1.0)
    >>> [is_overdue(Silence(seconds=s, streamed=True, ttft_s=0.5), settings) for s in (4.0, 5.0)]
    [False, True]
    """
    if silence.seconds < settings.floor_s:
        return False
    if silence.stands_still:
        return True
    if not silence.streamed:
        return False
    predicted_s = silence.tpot_s if silence.begun else silence.ttft_s
    if predicted_s is None:
        return silence.seconds >= settings.unpredicted_s
    return silence.seconds >= settings.factor * predicted_s


class StallWatch:
    """Look after silent requests.

    Args:
        relay: Knows the requests under way.
        scheduler: Decides about endpoints and places.
        settings: How long is too long.
        clock: The scheduler's ``now``.
    """

    def __init__(
        self,
        relay: Relay,
        scheduler: Scheduler,
        settings: StallSettings,
        clock: Callable[[], float],
    ) -> None:
        self._relay = relay
        self._scheduler = scheduler
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await in_step(self._settings.interval_s)
            self.sweep(asyncio.get_running_loop().time())

    def sweep(self, loop_s: float) -> None:
        """Look once.

        Args:
            loop_s: The event loop's clock, which connections are stamped by.
        """
        for request_id, delivery in list(self._relay.live.items()):
            way = delivery.way
            if not isinstance(way, Connection) or way.paused:
                continue
            silent_s = loop_s - way.heard_s
            if silent_s >= self._settings.floor_s:
                self._look_at(request_id, delivery, silent_s)

    def _look_at(self, request_id: str, delivery: Delivery, silent_s: float) -> None:
        decision = delivery.exchange.decision
        if decision is None:
            return
        now = self._clock()
        silence = self._silence(delivery, decision, silent_s, now)
        if not is_overdue(silence, self._settings):
            return
        state = self._scheduler.states.get(decision.endpoint)
        if state is None or gets_on(state, now - silent_s, now):
            return
        self._scheduler.stalled(decision.endpoint, now)
        if silence.begun:
            return
        action = self._scheduler.move(request_id, now)
        if action is not None:
            fields = {"request_id": request_id, "endpoint": decision.endpoint, "silent_s": silent_s}
            logger.warning("request_moved", extra=fields)
            delivery.deliver(action)

    def _silence(
        self, delivery: Delivery, decision: Decision, silent_s: float, now: float
    ) -> Silence:
        said = decision.predictions
        return Silence(
            seconds=silent_s,
            streamed=delivery.exchange.incoming.features.streamed,
            begun=delivery.exchange.shown,
            ttft_s=None if said is None else float(said.ttft_s[decision.chosen]),
            tpot_s=None if said is None else float(said.tpot_s[decision.chosen]),
            stands_still=self._scheduler.suspicion(decision.endpoint, now) == "stalled",
        )
