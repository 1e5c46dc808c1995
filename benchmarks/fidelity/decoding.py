"""Time per output token by batch size against llm-d's rows on H200 (``latency/llmd-h200``).

Evaluated, not replayed: the rows carry no arrival times, output lengths or endpoint. For
each row with a TPOT the engine decodes as many requests as ran when it was dispatched,
with the context the KV usage stands for; other requests' prefills are left out, which
the light ShareGPT load (a few per cent of the steps) allows. No constant is added.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.fidelity.play import Sent, play
from benchmarks.fidelity.rows import Row
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest

PROFILE: Final = "h200_sxm/qwen3-32b"
BANDS: Final = ((0, 2), (2, 4), (4, 8), (8, 16), (16, 24), (24, 33))
OUTPUT_TOKENS: Final = 200


def rows(data: Path, seeds: Sequence[int]) -> list[Row]:
    """Compare the median of each band of running requests."""
    path = data / "latency" / "llmd-h200" / "sharegpt-h200.jsonl"
    read = [json.loads(line) for line in path.read_text().splitlines()]
    read = [row for row in read if row["actual_tpot_ms"] > 0]
    running = np.array([row["num_request_running"] for row in read])
    usage = np.array([row["kv_cache_percentage"] for row in read])
    tpot_s = np.array([row["actual_tpot_ms"] for row in read]) / 1e3
    found = []
    for low, high in BANDS:
        band = (running >= low) & (running < high)
        batch = max(1, round(float(np.median(running[band]))))
        context = float(np.median(usage[band])) * profile(PROFILE).kv_tokens / batch
        found.append(
            Row(
                data="llmd-h200 sharegpt",
                quantity=f"TPOT at {low} to {high - 1} running",
                real=float(np.median(tpot_s[band])),
                simulated=[decode_s(batch, round(context), seed) for seed in seeds],
                limit=0.06,
                note=f"{int(band.sum())} rows; batch {batch}, context {context:.0f} each",
            )
        )
    return found


def decode_s(batch: int, context_tokens: int, seed: int) -> float:
    """Let the engine decode a batch around a context; give the median TPOT."""
    prompt = max(1, context_tokens - OUTPUT_TOKENS // 2)
    chains = [
        [
            Sent(
                request=SimRequest(
                    request_id=str(number), prompt_tokens=prompt, output_tokens=OUTPUT_TOKENS
                )
            )
        ]
        for number in range(batch)
    ]
    played = play(chains, profile=profile(PROFILE), settings=EngineSettings(), seed=seed)
    return float(np.median([done.tpot_s for done in played.completions.values() if done.tpot_s]))
