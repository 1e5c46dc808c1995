"""Predictions are wrong: what that costs the default, and a naive score beside it.

Everything said of an endpoint is multiplied by one factor: drawn anew at each decision
(10 %), or the endpoint's own for good (30 %). Full-length runs; each against the same
policy without the error. The naive score is a request's own end-to-end time by what all
experts say of each endpoint.
"""

from collections.abc import Sequence
from typing import Final

from rich.table import Table

from benchmarks.policies.bench import Bench, Document
from benchmarks.policies.cells import CORE, HELD_OUT, QUICK, Cell
from benchmarks.policies.musts import Verdict, all_pass, must_table
from benchmarks.policies.quality import OURS
from benchmarks.policies.ratios import Overall, Results, overall, ratios

ERRORS: Final = {"noise_10": "10 % of noise", "bias_30": "30 % of bias per endpoint"}
NAIVE: Final = "naive"
MOST_E2E: Final = 1.03
MOST_TTFT: Final = 2.0
_SHOWN: Final = {"e2e_mean_s": "e2e mean", "ttft_p90_s": "TTFT p90"}


def main_part(bench: Bench) -> tuple[Document, bool]:
    """Play what is missing and judge."""
    cells = bench.cells(CORE, QUICK)
    seeds = bench.held_out(HELD_OUT)
    wrong = [f"{base}{error}" for base in ("", f"{NAIVE}_") for error in ERRORS]
    planned = bench.planned(cells, (OURS, NAIVE, *wrong), seeds)
    bench.play(planned)
    results = bench.results(planned)
    verdicts = judge(results, cells)
    bench.pages.show(
        bench.console,
        {
            "robust": error_table(results, cells),
            "robust-musts": must_table("Robust to error, against the clean run", verdicts),
        },
    )
    document: Document = {
        "seeds": list(seeds),
        "verdicts": [one.as_json() for one in verdicts],
        "ratios": {
            f"{base}{error}": {
                cell.name: {
                    metric: _value(results, base, error, metric, [cell]) for metric in _SHOWN
                }
                for cell in cells
            }
            for base in ("", f"{NAIVE}_")
            for error in ERRORS
        },
    }
    return document, all_pass(verdicts)


def judge(results: Results, cells: Sequence[Cell]) -> list[Verdict]:
    """Judge the default under each error: e2e over the cells, TTFT p90 of the worst."""
    found = []
    for error, words in ERRORS.items():
        e2e = against_clean(results, "", error, "e2e_mean_s", cells)
        ttft = against_clean(results, "", error, "ttft_p90_s", cells)
        found += [
            Verdict(
                what=f"e2e mean, {words}",
                reached=None if e2e is None else e2e.geomean.mean,
                target=MOST_E2E,
                most=MOST_E2E,
                note="" if e2e is None else f"worst cell {e2e.worst:.3f}",
            ),
            Verdict(
                what=f"TTFT p90, {words}, worst cell",
                reached=None if ttft is None else ttft.worst,
                target=MOST_TTFT,
                most=MOST_TTFT,
                note="" if ttft is None else f"geometric mean {ttft.geomean.mean:.3f}",
            ),
        ]
    return found


def against_clean(
    results: Results, base: str, error: str, metric: str, cells: Sequence[Cell]
) -> Overall | None:
    """Compare a policy under an error with itself; ``None`` unless all cells were played.

    Args:
        results: What was played.
        base: Nothing for the default, ``naive_`` for the naive score.
        error: A name of ``ERRORS``.
        metric: Of which figure.
        cells: Which.
    """
    clean = NAIVE if base else OURS
    found = overall(ratios(results, f"{base}{error}", metric, dict.fromkeys(cells, clean)))
    return None if found is None or found.cells < len(cells) else found


def error_table(results: Results, cells: Sequence[Cell]) -> Table:
    """Lay e2e and TTFT p90 under each error out, of both policies."""
    titles = [f"{who}: {title}" for who in ("ours", "naive") for title in _SHOWN.values()]
    table = Table(
        "error", "cell", *titles,
        "naive, clean / ours: e2e mean", title="Predictions are wrong: ratio to the clean run",
    )  # fmt: skip
    for error, words in ERRORS.items():
        for cell in cells:
            pairs = [(base, metric) for base in ("", f"{NAIVE}_") for metric in _SHOWN]
            values = (_value(results, base, error, metric, [cell]) for base, metric in pairs)
            clean = overall(ratios(results, NAIVE, "e2e_mean_s", {cell: OURS}))
            table.add_row(
                words,
                cell.name,
                *("-" if value is None else f"{value:.3f}" for value in values),
                "-" if clean is None else f"{clean.worst:.3f}",
            )
    return table


def _value(
    results: Results, base: str, error: str, metric: str, cells: Sequence[Cell]
) -> float | None:
    found = against_clean(results, base, error, metric, cells)
    return None if found is None else found.geomean.mean
