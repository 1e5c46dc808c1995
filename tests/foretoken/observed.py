"""Observations from known physics, for tests that need something to train on."""

import random

import numpy as np

from predictor.feature_rows import feature_matrix
from predictor.features import COLUMN
from predictor.types import EndpointLoad, EndpointState, Observation

SECONDS_PER_TOKEN = {"fast:1": 2e-5, "slow:1": 6e-5}


def observe(
    count: int, *, model: str = "m", seed: int = 0, start_s: float = 0.0
) -> list[Observation]:
    """Make ``count`` observations, one a second, of two endpoints, one three times slower."""
    rng = random.Random(seed)
    return [_one(rng, model, start_s + number) for number in range(count)]


def _one(rng: random.Random, model: str, now: float) -> Observation:
    endpoint = rng.choice(sorted(SECONDS_PER_TOKEN))
    rate = SECONDS_PER_TOKEN[endpoint]
    load = EndpointLoad(
        inflight_requests=rng.randint(0, 10),
        queued_prefill_tokens=float(rng.choice((0, 0, 1000, 5000))),
        decoding_requests=rng.randint(0, 10),
        context_tokens=float(rng.randint(0, 20_000)),
    )
    features = feature_matrix(
        prompt_tokens=rng.randint(100, 4000),
        cached_tokens=np.zeros(1),
        max_tokens=None,
        expected_output_tokens=100.0,
        streamed=True,
        states=[EndpointState(endpoint=endpoint, url=f"http://{endpoint}", model=model, up=True)],
        loads=[load],
        now=now,
    )[0]
    tokens = float(features[COLUMN["uncached_tokens"]]) + load.queued_prefill_tokens
    return Observation(
        endpoint=endpoint,
        model=model,
        hardware=None,
        observed_s=now,
        features=features,
        upstream_ttft_s=(0.01 + rate * tokens) * rng.lognormvariate(0, 0.05),
        tpot_s=(0.005 + rate * 20 * load.decoding_requests) * rng.lognormvariate(0, 0.05),
        output_tokens=100,
    )
