"""Step times against recorded engine steps of vLLM on H100 (``latency/blis-h100``).

vLLM schedules ahead of the GPU, so a recorded step's own duration is not its time; the
time between the starts of two consecutive steps is. Every tenth step or so is recorded,
hence only neighbours by number count. The profile is evaluated on what the earlier of
the two computed. Idle gaps are left out: a cycle above 5 times the step's time, or after
which nothing ran. Nothing is fitted here and no constant is added.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.fidelity.rows import Row
from simulator.profiles import Profile, profile

RUNS: Final = {
    # Llama 2 70B and 3.1 70B have the same layers; only the vocabulary differs.
    "20260217-202857-llama-2-70b-tp4-general": "h100_sxm/llama-3.1-70b",
    "20260217-203421-llama-2-70b-hf-tp4-codegen": "h100_sxm/llama-3.1-70b",
    "20260218-150304-codellama-34b-tp2-general": "h100_sxm/codellama-34b",
}
BLOCK_TOKENS: Final = 16
IDLE: Final = 5.0
Columns = dict[str, np.ndarray]


def rows(data: Path) -> list[Row]:
    """Compare each run; the row's value is the median over its steps of simulated to real."""
    table = pq.read_table(data / "latency" / "blis-h100" / "enriched_steps.parquet")
    columns = {name: table[name].to_numpy() for name in table.column_names}
    found = []
    for run, name in RUNS.items():
        chosen = columns["experiment_id"] == run
        order = np.argsort(columns["step.id"][chosen])
        steps = {key: values[chosen][order] for key, values in columns.items()}
        found += _run_rows(run, profile(name), steps)
    return found


def _run_rows(run: str, chosen: Profile, steps: Columns) -> list[Row]:
    number = steps["step.id"]
    at = np.flatnonzero(np.diff(number) == 1)
    real_s = np.diff(steps["step.ts_start_ns"])[at] / 1e9
    ours_s = np.array([_composed_s(chosen, steps, int(index)) for index in at])
    working = (real_s < IDLE * ours_s) & (steps["queue.running_depth"][at + 1] > 0)
    ratio = (ours_s / real_s)[working]
    prefills = (steps["batch.prefill_tokens"][at] > 0)[working]
    data = f"blis-h100 {run.split('-', 2)[2]}"
    error = float(np.mean(np.abs(ratio - 1)))
    middle_s = float(np.median(real_s[working])), float(np.median(ours_s[working]))
    return [
        Row(
            data=data,
            quantity="step time, median ratio",
            real=1.0,
            simulated=[float(np.median(ratio))],
            limit=0.05,
            unit="x",
            note=f"{len(ratio)} steps, {len(at) - len(ratio)} idle; mean absolute {error:.1%}",
        ),
        Row(
            data=data,
            quantity="median step time",
            real=middle_s[0],
            simulated=[middle_s[1]],
            limit=None,
            note="medians of both, not of pairs",
        ),
        Row(
            data=data,
            quantity="of these with a prefill, median ratio",
            real=1.0,
            simulated=[float(np.median(ratio[prefills]))],
            limit=None,
            unit="x",
            note=f"{int(prefills.sum())} steps",
        ),
    ]


def _composed_s(chosen: Profile, steps: Columns, index: int) -> float:
    """Time a recorded step by the profile.

    Not recorded are each chunk's size, taken to be equal, and whose context the blocks in
    use hold: shared out between decodes and prefills by their numbers.
    """
    prefill = int(steps["batch.prefill_tokens"][index])
    chunks = int(steps["batch.num_prefill_reqs"][index])
    decoding = int(steps["batch.decode_tokens"][index])
    blocks = steps["kv.blocks_total_gpu"][index] - steps["kv.blocks_free_gpu"][index]
    each = max(0, int(blocks) * BLOCK_TOKENS - prefill) / max(1, chunks + decoding)
    sizes = [(prefill // chunks, round(each))] * chunks if prefill and chunks else []
    return chosen.step_s(sizes, decoding, round(each * decoding))
