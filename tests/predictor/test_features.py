"""The feature table: what it does with values no endpoint can hold."""

import numpy as np
import pytest

from predictor.features import COLUMN, feature_matrix
from predictor.types import IDLE, LONGEST_OUTPUT_TOKENS, EndpointState


@pytest.mark.parametrize("bound", [(1 << 31) - 1, 10**400])
def test_a_bound_that_means_no_bound_is_the_longest_answer(bound: int) -> None:
    row = feature_matrix(
        prompt_tokens=10,
        cached_tokens=np.zeros(1),
        max_tokens=bound,
        expected_output_tokens=10.0,
        streamed=False,
        states=[EndpointState(endpoint="a:1", url="http://a:1")],
        loads=[IDLE],
        now=0.0,
    )[0]

    assert row[COLUMN["max_tokens"]] == LONGEST_OUTPUT_TOKENS
