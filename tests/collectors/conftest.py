from collections.abc import Callable

import numpy as np
import pytest

from predictor.features import N_FEATURES
from predictor.types import (
    Decision,
    Measurement,
    Objective,
    Observation,
    Predictions,
    RequestFeatures,
    RequestRecord,
)

MakeRecord = Callable[[int], RequestRecord]


@pytest.fixture
def make_record() -> MakeRecord:
    """Give finished requests by number: arrived at that second, two candidates, all known."""
    return record


@pytest.fixture
def make_shed() -> MakeRecord:
    """Give requests that were shed before a decision: nothing is known but the request."""
    return shed


def record(number: int) -> RequestRecord:
    features = np.arange(2.0 * N_FEATURES).reshape(2, N_FEATURES) + number
    features[0, 4] = np.nan
    return RequestRecord(
        request=RequestFeatures(
            request_id=f"r{number}",
            arrived_s=float(number),
            model="alias",
            prompt_bytes=400,
            max_tokens=64,
            streamed=True,
            block_hashes=(1, (1 << 64) - 1),
            block_bytes=128,
            session_id="session text",
            tenant="tenant text",
            tier="batch",
            priority=-2,
            objective=Objective(ttft_s=0.5),
        ),
        fleet="org/base",
        decision=Decision(
            endpoints=("a:1", "b:2"),
            features=features,
            matched_tokens=np.array([0.0, 64.0]),
            predictions=predictions(),
            costs=np.array([1.5, 0.5]),
            chosen=1,
            order=(1, 0),
            policy="predicted_latency",
            reason="objective",
            shadow_chosen=0,
            prompt_tokens=99,
            decided_s=number + 0.001,
        ),
        endpoint="b:2",
        attempts=1,
        measurement=Measurement(
            outcome="completed",
            prompt_tokens=100,
            cached_tokens=64,
            output_tokens=20,
            endpoint_ttft_s=0.04,
            endpoint_tpot_s=0.009,
            status=200,
        ),
        finished_s=number + 0.25,
        dispatched_s=number + 0.01,
        ttft_s=0.06,
        upstream_ttft_s=0.05,
        tpot_s=0.01,
        e2e_s=0.25,
        observation=Observation(
            endpoint="b:2",
            model="org/base",
            hardware="h100",
            observed_s=number + 0.25,
            features=features[1],
            upstream_ttft_s=0.05,
            tpot_s=0.01,
            output_tokens=20,
            predicted_ttft_s=0.02,
            predicted_tpot_s=0.011,
            predicted_ttft_p90_s=0.03,
            predicted_tpot_p90_s=0.012,
        ),
    )


def predictions() -> Predictions:
    pair = np.array([0.1, 0.2])
    return Predictions(
        ttft_s=pair,
        tpot_s=pair / 10,
        quantiles_s=np.stack([[pair, pair * 2, pair * 3], [pair / 10, pair / 5, pair / 3]]),
        rank_ttft_s=pair,
        rank_tpot_s=pair,
        prefill_s=pair,
        decode_step_s=pair,
        prefill_token_s=pair,
        experts=np.zeros((2, 3, 2)),
        layer="mixture",
        version="v1",
    )


def shed(number: int) -> RequestRecord:
    return RequestRecord(
        request=RequestFeatures(request_id=f"s{number}", arrived_s=float(number), model="m"),
        fleet=None,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=Measurement(outcome="client_gone"),
        finished_s=number + 0.5,
    )
