"""Have all kernels compiled before the first request, which would have to wait for them.

Compiling takes seconds where no earlier process has kept its machine code. Called by
``foretoken.rehearsal`` and when an image is made.
"""

import random
from functools import partial
from typing import Final

from predictor import LatencyPredictor, OutputLengths, compile_kernels
from predictor.types import NO_OBJECTIVE, EndpointState, Measurement, Objective, RequestFeatures
from scheduler.fleet import Fleet, policies_of
from scheduler.ladder import Mode
from scheduler.scheduler import Scheduler
from scheduler.settings import SchedulerSettings

_NAMES: Final = ("a:1", "b:1")
_APART_S: Final = 0.05
_REQUESTS: Final[dict[Mode, int]] = {"predicted": 200, "heuristic": 2}
"""How many to play: by then predictions are no longer cold."""


def rehearse() -> None:
    """Have a throwaway scheduler place and end requests, by predictions and without."""
    compile_kernels()
    for mode, requests in _REQUESTS.items():
        settings = SchedulerSettings(mode=mode)
        scheduler = Scheduler(
            settings=settings, make_fleet=partial(_fleet, settings), rng=random.Random(0)
        )
        scheduler.update(
            EndpointState(endpoint=name, url=f"http://{name}", model="m", up=True, scraped_s=9.0)
            for name in _NAMES
        )
        _play(scheduler, requests)


def _fleet(settings: SchedulerSettings, model: str) -> Fleet:
    policy, fallback = policies_of(settings, model)
    return Fleet(
        model=model,
        policy=policy,
        fallback=fallback,
        predictor=LatencyPredictor(),
        output_lengths=OutputLengths(),
    )


def _play(scheduler: Scheduler, requests: int) -> None:
    """Serve requests until predictions decide."""
    done = Measurement(outcome="completed", prompt_tokens=16, output_tokens=2)
    for number in range(requests):
        request = RequestFeatures(
            request_id=str(number),
            arrived_s=0.0,
            model="m",
            prompt_bytes=64,
            objective=Objective(ttft_s=60.0, tpot_s=60.0) if number % 2 else NO_OBJECTIVE,
        )
        scheduler.route(request, number * _APART_S)
        scheduler.first_token(request.request_id, number * _APART_S + 0.01)
        scheduler.finished(request.request_id, done, number * _APART_S + 0.02)
