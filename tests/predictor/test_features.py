"""The feature table: what each column is made of, and what it does with the absurd."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predictor.feature_rows import feature_matrix
from predictor.features import COLUMN, FEATURES, N_FEATURES, features_page
from predictor.types import (
    IDLE,
    LONGEST_OUTPUT_TOKENS,
    EndpointLoad,
    EndpointState,
    FloatArray,
)

PAGE = Path(__file__).parents[2] / "docs" / "features.md"
BARE = EndpointState(endpoint="a:1", url="http://a:1")
NOW = 1_800_000_000.0


def rows(
    *states: EndpointState,
    load: EndpointLoad = IDLE,
    max_tokens: int | None = None,
    cached: FloatArray | None = None,
    matched: FloatArray | None = None,
) -> FloatArray:
    return feature_matrix(
        prompt_tokens=1000,
        cached_tokens=np.zeros(len(states)) if cached is None else cached,
        matched_tokens=matched,
        max_tokens=max_tokens,
        expected_output_tokens=10.0,
        streamed=False,
        states=states,
        loads=[load] * len(states),
        now=NOW,
    )


def value(features: FloatArray, name: str, row: int = 0) -> float:
    return float(features[row, COLUMN[name]])


@pytest.mark.parametrize("bound", [(1 << 31) - 1, 10**400])
def test_a_bound_that_means_no_bound_is_the_longest_answer(bound: int) -> None:
    assert value(rows(BARE, max_tokens=bound), "max_tokens") == LONGEST_OUTPUT_TOKENS


def test_only_what_the_table_says_is_unknown_of_an_endpoint_nobody_has_seen() -> None:
    features = rows(BARE)[0]

    unknown = {feature.name for feature in FEATURES if feature.unknown}
    assert {FEATURES[i].name for i in np.flatnonzero(np.isnan(features))} == unknown
    assert not np.isinf(features).any()


def test_every_column_of_a_known_endpoint_is_known() -> None:
    state = replace(
        BARE,
        hardware="h100_sxm/llama-3.1-8b",
        running_requests=3.0,
        waiting_requests=1.0,
        kv_cache_usage=0.25,
        kv_capacity_tokens=400_000,
        block_size=16,
        max_batched_tokens=8192,
        max_seqs=256,
        preemptions_per_s=0.5,
        prefix_hit_ratio=0.75,
        scraped_s=NOW - 2.0,
    )
    load = EndpointLoad(
        inflight_requests=7,
        queued_requests=2,
        queued_prefill_tokens=900.0,
        decoding_requests=5,
        context_tokens=12_000.0,
        remaining_output_tokens=80.0,
        oldest_queued_s=0.5,
        prefill_tokens_per_s=100.0,
        dispatches_per_s=0.25,
        recent_ttft_s=0.2,
        recent_tpot_s=0.01,
    )

    features = rows(state, load=load, max_tokens=50)

    assert np.isfinite(features).all()
    assert value(features, "kv_free_tokens") == 300_000
    assert value(features, "class_prefill_tokens_per_s") == pytest.approx(1 / 1.637e-5)
    assert value(features, "class_step_s") == pytest.approx(6.218e-3)
    assert value(features, "scrape_age_s") == 2.0
    assert value(features, "oldest_queued_s") == 0.5
    for field in ("preemptions_per_s", "prefix_hit_ratio", "max_batched_tokens", "max_seqs"):
        assert value(features, field) == getattr(state, field)
    for field in EndpointLoad.__dataclass_fields__.keys() - {"context_tokens", "last_dispatch"}:
        assert value(features, field) == getattr(load, field)
    assert value(features, "context_ktok") == 12.0


def test_a_hit_counts_by_tier_and_together() -> None:
    matched = np.array([[400.0, 200.0, 100.0], [0.0, 0.0, 0.0]])

    features = rows(BARE, replace(BARE, endpoint="b:1"), cached=matched / 2, matched=matched)

    names = ("matched_gpu_tokens", "matched_cpu_tokens", "matched_shared_tokens")
    assert [value(features, name) for name in names] == [400, 200, 100]
    names = ("cached_gpu_tokens", "loaded_cpu_tokens", "loaded_shared_tokens")
    assert [value(features, name) for name in names] == [200, 100, 50]
    assert (value(features, "cached_tokens"), value(features, "uncached_tokens")) == (350, 650)
    assert value(features, "prefill_context") == 650 * (350 + 325) / 1e6
    assert value(features, "uncached_tokens", row=1) == 1000


def test_no_more_than_the_prompt_is_cached() -> None:
    features = rows(BARE, cached=np.array([5000.0]))

    assert (value(features, "cached_tokens"), value(features, "uncached_tokens")) == (1000, 0)


@pytest.mark.parametrize("nonsense", [-1, 10**18])
def test_what_no_endpoint_can_have_is_unknown(nonsense: int) -> None:
    state = replace(BARE, kv_capacity_tokens=nonsense, kv_cache_usage=0.5, max_seqs=nonsense)

    features = rows(state)

    for name in ("kv_capacity_tokens", "kv_free_tokens", "max_seqs"):
        assert np.isnan(value(features, name))


def test_a_label_without_a_profile_says_nothing_of_the_class() -> None:
    features = rows(replace(BARE, hardware="abacus"))

    assert np.isnan(value(features, "class_step_s"))


def test_no_endpoints_make_an_empty_matrix() -> None:
    assert rows().shape == (0, N_FEATURES)


def test_the_page_is_what_the_table_says() -> None:
    """Regenerate with ``python -m tests.predictor.test_features``; review the diff."""
    assert PAGE.read_text(encoding="utf-8") == features_page()


if __name__ == "__main__":
    sys.stdout.write(f"wrote {PAGE.name}\n")
    PAGE.write_text(features_page(), encoding="utf-8")
