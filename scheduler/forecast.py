"""What a typical request would see at each endpoint: asked by people, never by a decision.

Reads what decisions read and writes nothing: no booking, no draw, nothing held against the
predictor. Called by the scheduler only.
"""

import numpy as np

from predictor import PredictorError
from predictor.feature_rows import request_rows
from predictor.features import TIERS
from predictor.types import Predictions
from predictor.values import Value
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.fleet import Fleet


class Typical(Value):
    """Describe the request that is asked about.

    Attributes:
        prompt_tokens: Length of its prompt.
        cached_tokens: Of these, as many as every endpoint is taken to hold already.
        output_tokens: Length of its answer.
        requests: How many requests these are the medians of, 0 for the default.
    """

    prompt_tokens: float
    cached_tokens: float
    output_tokens: float
    requests: int = 0


class Forecast(Value):
    """Hold what was said of ``n`` endpoints.

    Attributes:
        endpoints: Their names.
        predictions: What was said, in their order.
    """

    endpoints: tuple[str, ...]
    predictions: Predictions


def forecast(
    fleet: Fleet,
    table: EndpointTable,
    members: Members,
    typical: Typical,
    *,
    now: float,
    stale_after_s: float,
) -> Forecast | None:
    """Predict a typical request at every member, ``None`` where the predictor cannot."""
    n = len(members)
    matched = np.zeros((n, len(TIERS)))
    matched[:, 0] = typical.cached_tokens
    features = request_rows(
        table.columns,
        members.rows,
        prompt_tokens=typical.prompt_tokens,
        matched_tokens=matched,
        effectiveness=np.ones(n),
        max_tokens=None,
        expected_output_tokens=typical.output_tokens,
        streamed=True,
        now=now,
        stale_after_s=stale_after_s,
    )
    try:
        said = fleet.predictor.predict(features, members.names, members.hardware)
    except PredictorError:
        return None
    return Forecast(endpoints=members.names, predictions=said)
