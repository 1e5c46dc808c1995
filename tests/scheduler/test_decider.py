"""What a decision knows of a request's prefix, tier by tier."""

import numpy as np

from predictor.features import COLUMN
from predictor.types import Decision, Measurement
from scheduler import Dispatch
from tests.scheduler.known_physics import KnownPhysics, endpoint, make_scheduler, request

HASHES = (1, 2, 3, 4)
TOKENS = 256  # of four blocks of 64, exactly the whole prompt
COLUMNS = (
    "matched_gpu_tokens",
    "matched_cpu_tokens",
    "matched_shared_tokens",
    "cached_gpu_tokens",
    "loaded_cpu_tokens",
    "loaded_shared_tokens",
    "cached_tokens",
    "uncached_tokens",
)


def asked(request_id: str, endpoints: tuple[str, ...]) -> dict[str, object]:
    return {
        "request_id": request_id,
        "prompt_tokens": TOKENS,
        "prompt_bytes": TOKENS * 4,
        "block_hashes": HASHES,
        "allowed_endpoints": frozenset(endpoints),
    }


def columns(decision: Decision, row: int) -> dict[str, float]:
    return {name: float(decision.features[row, COLUMN[name]]) for name in COLUMNS}


def test_a_prompt_held_by_three_tiers_counts_once_and_not_its_last_token() -> None:
    sizes = {"kv_capacity_tokens": 64, "cpu_kv_tokens": 128, "shared_kv_tokens": 10_000}
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", **sizes), endpoint("b:1", **sizes)])
    first = scheduler.route(request(**asked("r1", ("a:1",))), 0.0)
    assert isinstance(first, Dispatch)

    second = scheduler.preview(request(**asked("r2", ("a:1", "b:1"))), 0.0)

    assert second is not None
    here, there = columns(second, 0), columns(second, 1)
    assert [here[name] for name in COLUMNS[:3]] == [64, 64, 127]
    assert [there[name] for name in COLUMNS[:3]] == [0, 0, 255]
    assert (here["cached_tokens"], here["uncached_tokens"]) == (255, 1)
    assert second.matched_tokens.tolist() == [255, 255]


def test_what_endpoints_report_scales_the_hit_of_every_tier() -> None:
    sizes = {"kv_capacity_tokens": 128, "cpu_kv_tokens": 10_000}
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1", **sizes)])
    for number in range(200):
        scheduler.route(request(**asked(f"r{number}", ("a:1",))), 0.0)
        done = Measurement(outcome="completed", prompt_tokens=TOKENS, cached_tokens=102)
        scheduler.finished(f"r{number}", done, 1.0)

    decision = scheduler.preview(request(**asked("last", ("a:1",))), 1.0)

    assert decision is not None
    seen = columns(decision, 0)
    assert [seen[name] for name in COLUMNS[:3]] == [128, 127, 0]
    np.testing.assert_allclose(seen["cached_gpu_tokens"], 128 * 0.4, rtol=0.01)
    np.testing.assert_allclose(seen["loaded_cpu_tokens"], 127 * 0.4, rtol=0.01)
    np.testing.assert_allclose(seen["cached_tokens"], 255 * 0.4, rtol=0.01)


def test_without_configured_tiers_only_the_gpu_counts() -> None:
    scheduler = make_scheduler(KnownPhysics(), [endpoint("a:1"), endpoint("b:1")])
    scheduler.route(request(**asked("r1", ("a:1",))), 0.0)

    decision = scheduler.preview(request(**asked("r2", ("a:1", "b:1"))), 0.0)

    assert decision is not None
    assert [columns(decision, 0)[name] for name in COLUMNS[:3]] == [255, 0, 0]
    assert [columns(decision, 1)[name] for name in COLUMNS[:3]] == [0, 0, 0]
