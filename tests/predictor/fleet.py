"""A made-up fleet of two endpoints with linear physics: the tests' source of labels."""

import numpy as np

from predictor import LatencyPredictor
from predictor.features import COLUMN, N_FEATURES
from predictor.settings import TrainingSettings
from predictor.types import FloatArray, Observation, Predictions
from predictor.values import replace

BOTH = ("fast:1", "slow:1")
ENDPOINTS = ("fast:1", "slow:1", "unseen:1")
HARDWARE = (None, None, "h100_sxm/llama-3.1-8b")
SMALL = TrainingSettings(ratio_trees=10, direct_trees=10)


def random_row(rng: np.random.Generator) -> FloatArray:
    """Draw a plausible feature row; a few of the scraped values are unknown."""
    row = np.zeros(N_FEATURES)
    prompt, cached = rng.integers(20, 8000), 0.0
    queued = float(rng.integers(0, 4))
    row[COLUMN["prompt_tokens"]] = prompt
    row[COLUMN["uncached_tokens"]] = prompt - cached
    row[COLUMN["prefill_context"]] = prompt * prompt / 2e6
    row[COLUMN["expected_output_tokens"]] = 100
    row[COLUMN["queued_requests"]] = queued
    row[COLUMN["queued_prefill_tokens"]] = queued * rng.integers(100, 3000)
    row[COLUMN["decoding_requests"]] = rng.integers(0, 50)
    row[COLUMN["context_ktok"]] = row[COLUMN["decoding_requests"]] * 1.5
    row[[COLUMN["max_tokens"], COLUMN["waiting_requests"]]] = np.nan
    return row


def fleet_observations(
    n: int, *, seed: int = 0, slow: float = 2.0, noise: float = 0.05
) -> list[Observation]:
    """Play linear physics on two endpoints, one of them ``slow`` times slower."""
    rng = np.random.default_rng(seed)
    observations = []
    for index in range(n):
        row = random_row(rng)
        speed = (1.0, slow)[index % 2]
        tokens = row[COLUMN["uncached_tokens"]] + row[COLUMN["queued_prefill_tokens"]]
        ttft = speed * (0.02 + 4e-5 * tokens + 2e-4 * row[COLUMN["decoding_requests"]])
        tpot = speed * (0.01 + 1e-4 * row[COLUMN["decoding_requests"]])
        jitter = np.exp(noise * rng.standard_normal(2))
        observations.append(
            Observation(
                endpoint=ENDPOINTS[index % 2],
                model="m",
                hardware=None,
                observed_s=index * 0.1,
                features=row,
                upstream_ttft_s=float(ttft * jitter[0]),
                tpot_s=float(tpot * jitter[1]),
                output_tokens=100,
            )
        )
    return observations


def predict_both(predictor: LatencyPredictor, row: FloatArray) -> Predictions:
    return predictor.predict(np.stack([row, row]), BOTH, (None, None))


def learned(observations: list[Observation]) -> LatencyPredictor:
    predictor = LatencyPredictor()
    for observation in observations:
        predictor.learn(observation)
    return predictor


def served(predictor: LatencyPredictor, observation: Observation) -> Observation:
    """Attach what is predicted now, as the scheduler does at dispatch."""
    said = predictor.predict(
        observation.features[None], [observation.endpoint], [observation.hardware]
    )
    return replace(
        observation,
        predicted_ttft_s=float(said.ttft_s[0]),
        predicted_ttft_p90_s=float(said.ttft_p90_s[0]),
        predicted_tpot_s=float(said.tpot_s[0]),
        predicted_tpot_p90_s=float(said.tpot_p90_s[0]),
        experts=said.experts[:, :, 0],
    )
