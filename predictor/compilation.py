"""Compile ahead what requests would else wait for: seconds once, then a third of one.

Called by whoever composes a service, before it takes requests, and by images when they
are built. Without it the first prediction, the first label and the first fits compile.
"""

import numpy as np

from predictor.feature_rows import EndpointRows, request_rows
from predictor.features import CLOCKS, N_FEATURES, TIERS
from predictor.latency import LatencyPredictor
from predictor.output_length import OutputLengths
from predictor.physics import PhysicsFit
from predictor.snapshot import ModelSnapshot
from predictor.types import FloatArray, Objective, Observation

_LABELS = 4  # after so many the first fits come


def compile_kernels() -> None:
    """Have a throwaway predictor do once all that serving does."""
    features = _rows()
    predictor = LatencyPredictor(snapshot=ModelSnapshot(physics=PhysicsFit(), trees={}))
    said = predictor.predict(features, ["a:1"], [None])
    predictor.probability(said, Objective(ttft_s=1.0))
    for number in range(_LABELS):
        predictor.learn(
            Observation(
                endpoint="a:1", model="m", hardware=None, observed_s=float(number),
                features=features[0], upstream_ttft_s=0.1, tpot_s=0.01,
            )
        )  # fmt: skip
    predictor.learn(
        Observation(
            endpoint="a:1", model="m", hardware=None, observed_s=0.0,
            features=features[0], waited_s=1.0,
        )
    )  # fmt: skip
    lengths = OutputLengths()
    lengths.learn(None, 1)
    lengths.expected(None, None)


def _rows() -> FloatArray:
    table = EndpointRows(values=np.zeros((1, N_FEATURES)), clocks=np.zeros((1, CLOCKS)))
    return request_rows(
        table,
        np.zeros(1, dtype=np.intp),
        prompt_tokens=1.0,
        matched_tokens=np.zeros((1, len(TIERS))),
        effectiveness=np.ones(1),
        max_tokens=None,
        expected_output_tokens=1.0,
        streamed=True,
        now=0.0,
    )
