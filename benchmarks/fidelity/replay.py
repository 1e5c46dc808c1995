"""Replay of 300 ShareGPT requests that vLLM 0.19 served on an RTX PRO 6000.

Reads ``latency/vllm-rtxpro6000/MODEL`` (arrivals, lengths, first and last token times,
one-second readings) and ``traces/llmservingsim`` (the same requests' token ids, for the
blocks they share: prefix caching was on). Engine settings are those of ``meta.json``. The
log's two clocks differ by an unknown constant; the fastest hand-over counts as none.
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash

from benchmarks.fidelity.play import Played, Sent, play
from benchmarks.fidelity.recorded_steps import Served
from benchmarks.fidelity.rows import Row
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest

BLOCK_TOKENS: Final = 16
UNSATURATED_S: Final = 10.0
"""Arrivals before this found a free place in the batch, here and there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One recorded run: requests, their times, and the server's readings by second."""

    chains: list[list[Sent]]
    ttft_s: np.ndarray
    e2e_s: np.ndarray
    seconds: np.ndarray
    """``(n, 3)``: second, running, waiting."""
    served: list[Served]
    """The same requests as they went through the engine."""
    profile: str
    budget: int
    """Tokens of a step, at most."""
    settings: EngineSettings


def read(data: Path, model: str, trace: str, profile_name: str) -> Recording:
    """Read a run of ``model`` and the token ids of ``trace``."""
    folder = data / "latency" / "vllm-rtxpro6000" / model / "vllm"
    log = _lines(folder / "requests.jsonl")
    ids = _lines(data / "traces" / "llmservingsim" / trace)
    given = json.loads((folder / "meta.json").read_text())["engine_kwargs"]
    arrived = np.array([row["arrival_time"] for row in log])
    ahead_s = min(row["queued_ts"] - row["arrival_time"] for row in log)
    first, last = (
        np.array([row[key] for row in log]) - ahead_s for key in ("first_token_ts", "last_token_ts")
    )
    with (folder / "timeseries.csv").open() as file:
        readings = [[row["t"], row["running"], row["waiting"]] for row in csv.DictReader(file)]
    return Recording(
        chains=[
            [Sent(request=_request(row, tokens), at_s=float(at_s))]
            for row, tokens, at_s in zip(log, ids, arrived - arrived.min(), strict=True)
        ],
        ttft_s=first - arrived,
        e2e_s=last - arrived,
        seconds=np.array(readings, dtype=float),
        served=_served(log, ids),
        profile=profile_name,
        budget=given["max_num_batched_tokens"],
        settings=EngineSettings(
            max_num_seqs=given["max_num_seqs"],
            max_num_batched_tokens=given["max_num_batched_tokens"],
        ),
    )


def replay(recording: Recording, seeds: Sequence[int]) -> list[Played]:
    """Play it once per seed."""
    chosen = profile(recording.profile)
    return [
        play(recording.chains, profile=chosen, settings=recording.settings, seed=seed)
        for seed in seeds
    ]


def rows(name: str, recording: Recording, runs: Sequence[Played]) -> list[Row]:
    """Compare percentiles over all requests, and TTFT before the batch is full."""
    ids = [chain[0].request.request_id for chain in recording.chains]
    ttft_s = np.array([[run.completions[key].ttft_s for key in ids] for run in runs])
    e2e_s = np.array([[run.completions[key].e2e_s for key in ids] for run in runs])
    early = np.array([chain[0].at_s < UNSATURATED_S for chain in recording.chains])
    judged = (
        ("TTFT p50", 50, recording.ttft_s, ttft_s, 0.10),
        ("TTFT p90", 90, recording.ttft_s, ttft_s, 0.15),
        ("e2e p50", 50, recording.e2e_s, e2e_s, 0.05),
        ("e2e p90", 90, recording.e2e_s, e2e_s, 0.05),
        ("TTFT p50, first 10 s", 50, recording.ttft_s[early], ttft_s[:, early], None),
        ("TTFT p90, first 10 s", 90, recording.ttft_s[early], ttft_s[:, early], None),
    )
    return [
        Row(
            data=name,
            quantity=quantity,
            real=float(np.percentile(real_s, share)),
            simulated=[float(value) for value in np.percentile(ours_s, share, axis=1)],
            limit=limit,
            note="" if limit else "before the burst fills the batch: the pipeline alone",
        )
        for quantity, share, real_s, ours_s, limit in judged
    ]


def block_keys(tokens: Sequence[int]) -> list[int]:
    """Give the chained key of every full block of token ids."""
    blocks = np.array(tokens[: len(tokens) // BLOCK_TOKENS * BLOCK_TOKENS], dtype=np.int64)
    digests = (
        xxhash.xxh3_64_intdigest(block.tobytes()) for block in blocks.reshape(-1, BLOCK_TOKENS)
    )
    chained = accumulate(
        digests,
        lambda path, digest: xxhash.xxh3_64_intdigest(
            path.to_bytes(8, "little") + digest.to_bytes(8, "little")
        ),
    )
    return list(chained)


def _request(row: dict[str, str | int], tokens: dict[str, list[int]]) -> SimRequest:
    prompt = int(row["input_toks"])
    return SimRequest(
        request_id=str(row["request_id"]),
        prompt_tokens=prompt,
        output_tokens=int(row["output_toks"]),
        block_hashes=block_keys(tokens["input_tok_ids"][:prompt]),
    )


def _served(log: list[dict[str, Any]], ids: list[dict[str, Any]]) -> list[Served]:
    """Give the log in order of scheduling, with what each prompt found cached."""
    computed: set[int] = set()
    served = []
    for row, tokens in sorted(zip(log, ids, strict=True), key=lambda pair: pair[0]["scheduled_ts"]):
        prompt = int(row["input_toks"])
        keys = block_keys(tokens["input_tok_ids"][:prompt])
        found = next((at for at, key in enumerate(keys) if key not in computed), len(keys))
        computed.update(keys)
        served.append(
            Served(
                scheduled_s=row["scheduled_ts"],
                first_s=row["first_token_ts"],
                last_s=row["last_token_ts"],
                prompt_tokens=prompt,
                cached_tokens=min(found, (prompt - 1) // BLOCK_TOKENS) * BLOCK_TOKENS,
                output_tokens=int(row["output_toks"]),
            )
        )
    return served


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
