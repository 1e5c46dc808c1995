"""What one decision costs: features, prediction of both targets, policy, booking.

    python -m benchmarks.decision [--json PATH] [--quick]

Prints CPU time per decision by number of endpoints, without and with trained trees, and
how much of it is the predictor's and that of the feature rows. Goals, all included: 0.15
ms at 8 endpoints and 1 ms at 100; for the rows alone 0.02 and 0.06 ms.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from predictor import LatencyPredictor, OutputLengths, train
from predictor.feature_rows import request_rows
from predictor.features import TIERS
from predictor.protocol import Predictor
from predictor.types import (
    EndpointState,
    FloatArray,
    Measurement,
    Objective,
    Observation,
    Predictions,
    RequestFeatures,
)
from scheduler import Dispatch, Fleet, Scheduler, SchedulerSettings, policies_of
from scheduler.endpoint_table import EndpointTable

MODEL = "m"
ENDPOINTS = (2, 8, 100)
DONE = Measurement(outcome="completed", prompt_tokens=1000, output_tokens=50, cached_tokens=0)


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="a fifth of the decisions")
    given = arguments.parse_args()
    decisions = 200 if given.quick else 1000
    rows = [
        {"endpoints": count, "trees": trees, **measure(count, decisions, trees=trees)}
        for trees in (False, True)
        for count in ENDPOINTS
    ]
    parts = ("p50_s", "mean_s", "predictor_p50_s", "rows_p50_s")
    headings = ("p50", "mean", "of it the predictor", "feature rows")
    table = Table("endpoints", "trees", *headings, title="CPU per decision, us")
    for row in rows:
        shown = [f"{row[part] * 1e6:.0f}" for part in parts]
        table.add_row(str(row["endpoints"]), "yes" if row["trees"] else "no", *shown)
    Console().print(table)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=2) + "\n")


class TimedPredictor:
    """Predict as another does, and note the CPU seconds of each prediction."""

    def __init__(self, predictor: LatencyPredictor) -> None:
        self.seconds: list[float] = []
        self._predictor = predictor

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        """Predict."""
        started_ns = time.process_time_ns()
        said = self._predictor.predict(features, endpoints, hardware)
        self.seconds.append((time.process_time_ns() - started_ns) / 1e9)
        return said

    def learn(self, observation: Observation) -> None:
        """Learn."""
        self._predictor.learn(observation)

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        """Give the probability that each endpoint meets the objective."""
        return self._predictor.probability(predictions, objective)


def measure(endpoints: int, decisions: int, *, trees: bool) -> dict[str, float]:
    """Route requests on a warm scheduler and give the CPU seconds of each."""
    rng = random.Random(0)
    predictor = LatencyPredictor()
    timed = TimedPredictor(predictor)
    scheduler = make_scheduler(endpoints, timed)
    seen = warm(scheduler, rng)
    if trees:
        predictor.swap(train(seen).snapshot)
    seconds = []
    timed.seconds.clear()
    for number in range(decisions):
        request = make_request(f"measured-{number}", rng)
        started_ns = time.process_time_ns()
        scheduler.route(request, 1e4)
        seconds.append((time.process_time_ns() - started_ns) / 1e9)
        scheduler.finished(request.request_id, Measurement(outcome="client_gone"), 1e4)
    return {
        "p50_s": statistics.median(seconds),
        "mean_s": statistics.fmean(seconds),
        "predictor_p50_s": statistics.median(timed.seconds),
        "rows_p50_s": statistics.median(feature_rows(scheduler, decisions)),
    }


def feature_rows(scheduler: Scheduler, repeats: int) -> list[float]:
    """Complete the rows of all endpoints; give the CPU seconds of each time."""
    table = EndpointTable()
    for state in scheduler.states.values():
        table.see(state)
    members = table.members(scheduler.states.values())
    matched = np.zeros((len(members), len(TIERS)))
    trust = table.effectiveness(members.rows)
    seconds = []
    for _ in range(repeats):
        started_ns = time.process_time_ns()
        request_rows(
            table.columns,
            members.rows,
            prompt_tokens=1000,
            matched_tokens=matched,
            effectiveness=trust,
            max_tokens=512,
            expected_output_tokens=50.0,
            streamed=True,
            now=1e4,
        )
        seconds.append((time.process_time_ns() - started_ns) / 1e9)
    return seconds


def make_scheduler(endpoints: int, predictor: Predictor) -> Scheduler:
    """Build a production scheduler over idle endpoints."""
    settings = SchedulerSettings()

    def make_fleet(model: str) -> Fleet:
        policy, fallback = policies_of(settings, model)
        return Fleet(
            model=model,
            policy=policy,
            fallback=fallback,
            predictor=predictor,
            output_lengths=OutputLengths(),
        )

    scheduler = Scheduler(settings=settings, make_fleet=make_fleet, rng=random.Random(0))
    names = [f"10.0.0.{number}:8000" for number in range(endpoints)]
    scheduler.update(
        EndpointState(endpoint=name, url=f"http://{name}", model=MODEL, up=True, scraped_s=0.0)
        for name in names
    )
    return scheduler


def warm(scheduler: Scheduler, rng: random.Random) -> list[Observation]:
    """Serve requests with made-up latencies until every layer has something to say."""
    seen = []
    for number in range(600):
        request, now = make_request(f"warm-{number}", rng), float(number)
        action = scheduler.route(request, now)
        if not isinstance(action, Dispatch):
            raise TypeError(action)
        ttft_s = 0.02 + 5e-5 * action.decision.prompt_tokens * rng.lognormvariate(0, 0.1)
        scheduler.first_token(request.request_id, now + ttft_s)
        record = scheduler.finished(request.request_id, DONE, now + ttft_s + 0.5)
        if record.observation is not None:
            seen.append(record.observation)
    return seen


def make_request(request_id: str, rng: random.Random) -> RequestFeatures:
    """Make a request of about a thousand tokens whose prefix others share."""
    group = rng.randrange(20)
    return RequestFeatures(
        request_id=request_id,
        arrived_s=0.0,
        model=MODEL,
        prompt_bytes=rng.randint(2000, 6000),
        streamed=True,
        block_hashes=tuple(range(group * 1000, group * 1000 + 12)),
        max_tokens=512,
    )


if __name__ == "__main__":
    main()
