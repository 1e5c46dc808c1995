"""Simulated runs made by hand, of requests that were answered at the only endpoint."""

from typing import Any

from foretoken.simulation.outcome import Outcome, Run


def answered(arrived_s: float, *, ttft_s: float | None = 0.5, **changes: object) -> Outcome:
    """Make a request of 100 prompt tokens and 11 output tokens, 0.1 s apart."""
    values: dict[str, Any] = {
        "request_id": str(arrived_s),
        "session_id": "s",
        "endpoint": "a",
        "outcome": "completed",
        "reason": "policy",
        "tier": None,
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "output_tokens": 11,
        "tpot_s": 0.1,
        "e2e_s": None if ttft_s is None else ttft_s + 1.0,
        "upstream_ttft_s": ttft_s,
        "predicted_ttft_s": None,
        "predicted_tpot_s": None,
        "preemptions": 0,
        **changes,
    }
    return Outcome(arrived_s=arrived_s, ttft_s=ttft_s, **values)


def played(*outcomes: Outcome, **changes: object) -> Run:
    """Make a run of one request a second that is measured for its first 100 s."""
    values: dict[str, Any] = {
        "policy": "p",
        "workload": "w",
        "fleet": "f",
        "rate": 1.0,
        "seed": 1,
        "warmup_s": 0.0,
        "measure_s": 100.0,
        "endpoints": ("a",),
        "engine_steps": 0,
        "objective_ttft_s": None,
        "objective_tpot_s": None,
        "ended_s": 100.0,
        "truncated": False,
        **changes,
    }
    return Run(outcomes=outcomes, **values)
