"""How well the predictor does on recorded rows: predict, then learn, in order.

    python -m benchmarks.prediction [--data DIR] [--json PATH] [--quick]

Reads llm-d's recorded H200 rows (``DIR/latency/llmd-h200/*.jsonl``: endpoint state and
one of TTFT or TPOT each, in label order, which flatters). Each label is predicted before
it is learned from; boosted models are trained anew every 400 rows. Shown, not judged.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from predictor import EXPERTS, LatencyPredictor, TrainingSettings, train
from predictor.features import COLUMN, N_FEATURES
from predictor.types import Observation

DEFAULT_DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = ("sharegpt", "bimodal")
TARGETS = ("ttft", "tpot")
RETRAIN_ROWS = 400
ENDPOINT, FLEET = "recorded:1", "qwen3-32b"
# KV capacity of Qwen3-32B on one H200, for the context its usage stands for.
KV_KTOK = 260.639


@dataclass(slots=True)
class Errors:
    """Collect the relative errors of one target."""

    mixture: list[float] = field(default_factory=list)
    experts: list[np.ndarray] = field(default_factory=list)
    covered: list[bool] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Give errors as fractions, over spans of rows."""
        error = np.array(self.mixture)
        return {
            "mape": float(error.mean()),
            "mdape": float(np.median(error)),
            "mape_first_100": float(error[:100].mean()),
            "mape_first_500": float(error[:500].mean()),
            "mape_after_500": float(error[500:].mean()),
            "mdape_after_500": float(np.median(error[500:])),
            "p90_coverage": float(np.mean(self.covered)),
        }

    def by_expert(self) -> dict[str, float]:
        """Give each expert's median error after 500 rows."""
        errors = np.array(self.experts[500:])
        known = dict(zip(EXPERTS, errors.T, strict=True))
        return {name: float(np.nanmedian(column)) for name, column in known.items()}


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--data", type=Path, default=DEFAULT_DATA)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="the first 1,500 rows")
    given = arguments.parse_args()
    folder = given.data / "latency" / "llmd-h200"
    if not folder.is_dir():
        arguments.error(f"{folder} is not there; name the data folder with --data")
    console, results = Console(), {}
    for name in SETS:
        rows = list(read(folder / f"{name}-h200.jsonl"))
        with console.status(f"{name}: {len(rows)} rows"):
            results[name] = play(rows[:1500] if given.quick else rows)
    console.print(error_table(results))
    console.print(expert_table(results))
    if given.json is not None:
        document = {
            name: {
                target: {**errors.summary(), "experts_mdape": errors.by_expert()}
                for target, errors in by_target.items()
            }
            for name, by_target in results.items()
        }
        given.json.write_text(json.dumps(document, indent=2) + "\n")


def read(path: Path) -> Iterator[Observation]:
    """Read recorded rows as observations; a label of 0 was not measured."""
    for number, line in enumerate(path.read_text().splitlines()):
        row = json.loads(line)
        tokens = row["input_token_length"]
        # their "running" is the router's own count of requests sent and not ended
        inflight, waiting = row["num_request_running"], row["num_request_waiting"]
        running = max(inflight - waiting, 0)
        features = np.full(N_FEATURES, np.nan)
        known = {
            "prompt_tokens": tokens,
            "cached_tokens": 0,
            "uncached_tokens": tokens,
            "prefill_context": tokens * tokens / 2 / 1e6,
            "expected_output_tokens": 200,
            "streamed": 1,
            "running_requests": running,
            "waiting_requests": waiting,
            "kv_cache_usage": row["kv_cache_percentage"],
            "scrape_age_s": 0,
            "inflight_requests": max(inflight, waiting),
            "queued_requests": waiting,
            "queued_prefill_tokens": row["prefill_tokens_in_flight"],
            "decoding_requests": running,
            "context_ktok": row["kv_cache_percentage"] * KV_KTOK,
            "oldest_queued_s": 0,
            "prefill_tokens_per_s": 0,
        }
        for name, value in known.items():
            features[COLUMN[name]] = value
        yield Observation(
            endpoint=ENDPOINT,
            model=FLEET,
            hardware=None,
            observed_s=number * 0.1,  # the rows have no times; ten a second is their load
            features=features,
            upstream_ttft_s=row["actual_ttft_ms"] / 1e3 or None,
            tpot_s=row["actual_tpot_ms"] / 1e3 or None,
        )


def play(rows: list[Observation]) -> dict[str, Errors]:
    """Predict every row before learning it; give the errors by target."""
    predictor = LatencyPredictor()
    errors = {target: Errors() for target in TARGETS}
    for number, row in enumerate(rows):
        if number and number % RETRAIN_ROWS == 0:
            settings = TrainingSettings(evaluation_blocks=1)
            predictor.swap(train(rows[:number], settings).snapshot)
        said = predictor.predict(row.features[None], [row.endpoint], [row.hardware])
        pairs = (
            (row.upstream_ttft_s, said.ttft_s[0], said.ttft_p90_s[0]),
            (row.tpot_s, said.tpot_s[0], said.tpot_p90_s[0]),
        )
        for index, (actual_s, expected_s, p90_s) in enumerate(pairs):
            if actual_s is not None:
                seen = errors[TARGETS[index]]
                seen.mixture.append(abs(float(expected_s) / actual_s - 1))
                seen.experts.append(np.abs(np.exp(said.experts[index, :, 0]) / actual_s - 1))
                seen.covered.append(actual_s <= float(p90_s))
        predictor.learn(
            replace(
                row,
                experts=said.experts[:, :, 0],
                predicted_ttft_s=float(said.ttft_s[0]),
                predicted_tpot_s=float(said.tpot_s[0]),
                predicted_ttft_p90_s=float(said.ttft_p90_s[0]),
                predicted_tpot_p90_s=float(said.tpot_p90_s[0]),
            )
        )
    return errors


def error_table(results: dict[str, dict[str, Errors]]) -> Table:
    """Lay the mixture's errors out."""
    table = Table(
        "set", "all: mean / median", "first 100", "first 500", "after 500", "p90 covers",
        title="Absolute percentage error, prequential",
    )  # fmt: skip
    for name, by_target in results.items():
        for target, errors in by_target.items():
            seen = errors.summary()
            table.add_row(
                f"{name} {target.upper()}",
                f"{seen['mape']:.1%} / {seen['mdape']:.1%}",
                f"{seen['mape_first_100']:.0%}",
                f"{seen['mape_first_500']:.0%}",
                f"{seen['mape_after_500']:.1%} / {seen['mdape_after_500']:.1%}",
                f"{seen['p90_coverage']:.0%}",
            )
    return table


def expert_table(results: dict[str, dict[str, Errors]]) -> Table:
    """Lay every expert's median error out."""
    table = Table("set", *EXPERTS, title="Median error of each expert after 500 rows")
    for name, by_target in results.items():
        for target, errors in by_target.items():
            cells = [f"{error:.1%}" for error in errors.by_expert().values()]
            table.add_row(f"{name} {target.upper()}", *cells)
    return table


if __name__ == "__main__":
    main()
