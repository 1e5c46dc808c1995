"""The terms: what they read, and that unknown means nothing there."""

import numpy as np

from predictor.features import COLUMN, N_FEATURES
from predictor.terms import (
    PARTS,
    TPOT_TERMS,
    TTFT_TERMS,
    design_of,
    regimes,
    tpot_day_zero,
    ttft_day_zero,
)


def test_terms_and_day_zero_have_one_length() -> None:
    rows = np.zeros((3, N_FEATURES))

    for label in (None, "b200_sxm/qwen3-32b"):
        assert ttft_day_zero(label).unit.shape == (len(TTFT_TERMS),)
        assert tpot_day_zero(label).factor.shape == (len(TPOT_TERMS),)
    design = design_of(rows)
    assert [design[:, part].shape[1] for part in PARTS] == [len(TTFT_TERMS), len(TPOT_TERMS)]
    assert design.shape == (3, len(TTFT_TERMS) + len(TPOT_TERMS))


def test_unknown_infinite_and_negative_values_count_as_nothing() -> None:
    row = np.zeros((1, N_FEATURES))
    row[0, COLUMN["uncached_tokens"]] = np.nan
    row[0, COLUMN["queued_prefill_tokens"]] = np.inf
    row[0, COLUMN["decoding_requests"]] = -3.0
    row[0, COLUMN["waiting_requests"]] = 2.0

    assert design_of(row)[0, :7].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 2.0]


def test_this_request_is_part_of_the_batch_it_joins() -> None:
    row = np.zeros((1, N_FEATURES))
    row[0, COLUMN["prompt_tokens"]] = 2000
    row[0, COLUMN["decoding_requests"]] = 4
    row[0, COLUMN["context_ktok"]] = 6
    row[0, COLUMN["queued_requests"]] = 1
    row[0, COLUMN["queued_prefill_tokens"]] = 500
    row[0, COLUMN["expected_output_tokens"]] = 15

    assert design_of(row)[0, PARTS[1]].tolist() == [1.0, 5.0, 8.0, 0.0, 0.25, 1.0]


def test_regimes_follow_whichever_count_of_waiting_is_larger() -> None:
    rows = np.zeros((4, N_FEATURES))
    rows[:, COLUMN["queued_requests"]] = 0, 2, 0, 0
    rows[:, COLUMN["waiting_requests"]] = 0, np.nan, 8, 9

    assert regimes(rows).tolist() == [0, 1, 1, 2]
