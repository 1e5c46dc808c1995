"""Candidates in any state one likes, for the tests of policies."""

import random

import numpy as np

from predictor.feature_rows import feature_matrix
from predictor.types import EndpointLoad, EndpointState, RequestFeatures
from scheduler import POLICIES, build_policy
from scheduler.candidates import Candidates, Terms, total
from tests.scheduler.known_physics import KnownPhysics, endpoint, request

EVEN = KnownPhysics()
"""All endpoints at one speed."""


def candidates(
    loads: list[EndpointLoad],
    *,
    states: list[EndpointState] | None = None,
    matched: list[float] | None = None,
    draw: list[float] | None = None,
    asked: RequestFeatures | None = None,
    predictor: KnownPhysics | None = EVEN,
) -> Candidates:
    states = states or [endpoint(f"e{i}:1") for i in range(len(loads))]
    names = [state.endpoint for state in states]
    matched_tokens = np.array(matched or [0.0] * len(loads))
    features = feature_matrix(
        prompt_tokens=1000,
        cached_tokens=matched_tokens,
        max_tokens=None,
        expected_output_tokens=100.0,
        streamed=True,
        states=states,
        loads=loads,
        now=1.0,
    )
    rng = random.Random(0)
    predictions = predictor and predictor.predict(features, names, [None] * len(names))
    return Candidates(
        request=asked or request(),
        names=tuple(names),
        rows=np.arange(len(loads)),
        all_turns=np.array([float(load.last_dispatch) for load in loads]),
        features=features,
        matched_tokens=matched_tokens,
        prompt_tokens=1000,
        expected_output_tokens=100.0,
        predictions=predictions,
        draw=np.array(draw or [rng.random() for _ in loads]),
    )


def load(inflight: int = 0, **changes: float) -> EndpointLoad:
    return EndpointLoad(inflight_requests=inflight, **changes)  # type: ignore[arg-type]  # test shorthand


def terms(name: str, given: Candidates) -> Terms:
    return build_policy(POLICIES[name]).terms(given)


def cheapest(name: str, given: Candidates) -> int:
    return int(np.argmin(total(terms(name, given))))
