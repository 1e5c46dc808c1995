"""Our picker over a scheduler that takes endpoints in turns: what all but scheduling costs.

``python -m benchmarks.picker.wire PORT ENDPOINT,ENDPOINT``. Reads, observes and answers as
ever; nothing is predicted, learned, recorded or logged.
"""

import asyncio
import itertools
import socket
import sys
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import numpy as np
import uvloop
from prometheus_client import CollectorRegistry

from predictor.types import Decision, EndpointState, Measurement, RequestFeatures, RequestRecord
from proxy import ProxyMetrics, ProxySettings
from proxy.picker.picker import Picker
from proxy.picker.server import PickerServer
from scheduler import Dispatch, Scheduler, SchedulerSettings

_NOTHING = np.zeros((1, 1))


class Turns:
    """Place requests in turns."""

    waiting_requests = 0
    caches = SimpleNamespace(speak=False, token_blocks=None)

    def __init__(self, endpoints: list[str]) -> None:
        self.states: Mapping[str, EndpointState] = {}
        self._turns = itertools.cycle([self._dispatch(endpoint) for endpoint in endpoints])
        self._live: dict[str, RequestFeatures] = {}

    def route(self, request: RequestFeatures, _: float) -> Dispatch:
        """Give the next one."""
        self._live[request.request_id] = request
        return next(self._turns)

    def decided(self, request_id: str, seconds: float, now: float) -> None:
        """Nothing is made of it."""

    def first_token(self, request_id: str, now: float) -> None:  # noqa: ARG002
        """Nothing is made of it."""
        return

    def finished(self, request_id: str, measurement: Measurement, now: float) -> RequestRecord:
        """Forget it."""
        return RequestRecord(
            request=self._live.pop(request_id),
            fleet=None,
            decision=None,
            endpoint=None,
            attempts=1,
            measurement=measurement,
            finished_s=now,
        )

    def _dispatch(self, endpoint: str) -> Dispatch:
        decision = Decision(
            endpoints=(endpoint,),
            features=_NOTHING,
            matched_tokens=_NOTHING[0],
            predictions=None,
            costs=_NOTHING[0],
            chosen=0,
            order=(0,),
            policy="turns",
            reason="turns",
            prompt_tokens=0,
            decided_s=0.0,
        )
        url = f"http://{endpoint}"
        return Dispatch(request_id="", endpoint=endpoint, url=url, decision=decision, attempt=1)


async def main() -> None:
    """Serve until killed."""
    settings = ProxySettings()
    picker = Picker(
        scheduler=cast("Scheduler", Turns(sys.argv[2].split(","))),
        settings=settings,
        metrics=ProxyMetrics(CollectorRegistry(), SchedulerSettings()),
        sinks=(),
        clock=time.monotonic,
    )
    with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as listener:
        async with PickerServer(picker, settings, listener):
            await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
