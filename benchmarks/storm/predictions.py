"""How well was predicted in a span of time, and how well that could have been.

On a shared machine the same requests take longer now and then, for reasons that nobody can
predict. So beside the error of what was predicted stands that of a fit made in hindsight, on
the very requests it is judged by: what a router cannot be blamed for. Called by the accounts.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

Line = Mapping[str, Any]  # of a log: what JSON holds

TARGETS: Final[Mapping[str, str]] = {"ttft": "upstream_ttft_s", "tpot": "tpot_s"}
_FEWEST: Final = 20  # rows of an endpoint that a fit is made of


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Hold the errors of one target before and after, medians of ``|log(said / seen)|``.

    Attributes:
        said: Of what was predicted, by span; ``None`` where nothing was seen.
        hindsight: Of the fit.
    """

    said: tuple[float | None, ...]
    hindsight: tuple[float | None, ...]

    @property
    def grown(self) -> float | None:
        """Give the last error over the first, less what the machine's noise grew by."""
        (was, *_, now), (noise_was, *_, noise_now) = self.said, self.hindsight
        if not was or now is None:
            return None
        noisier = noise_now / noise_was if noise_was and noise_now is not None else 1.0
        return now / was / max(1.0, noisier)


def judged(
    lines: Iterable[Line], sent_s: Mapping[str, float], spans: Sequence[tuple[float, float]]
) -> dict[str, Judged]:
    """Judge the predictions of finished requests, by target.

    Args:
        lines: Of routers' logs.
        sent_s: When each request was sent, by id.
        spans: From and to when, in order.

    >>> line = {"request_id": "a", "endpoint": "e", "predicted_tpot_s": 3.0, "tpot_s": 3.0}
    >>> judged([line], {"a": 5.0}, [(0.0, 9.0), (10.0, 19.0)])["tpot"].said
    (0.0, None)
    """
    told = list(lines)
    found = {}
    for target, name in TARGETS.items():
        known = [line for line in told if line.get(name) and line.get(f"predicted_{name}")]
        within = [
            [line for line in known if from_s <= sent_s.get(line["request_id"], -1.0) < to_s]
            for from_s, to_s in spans
        ]
        found[target] = Judged(
            said=tuple(_median(_errors(rows, name)) for rows in within),
            hindsight=tuple(_median(_residuals(rows, name)) for rows in within),
        )
    return found


def _errors(rows: Sequence[Line], name: str) -> list[float]:
    return [abs(float(np.log(row[f"predicted_{name}"] / row[name]))) for row in rows]


def _residuals(rows: Sequence[Line], name: str) -> list[float]:
    """Fit each endpoint's times by prompt and what of it was not cached; give what is left."""
    left: list[float] = []
    for endpoint in {row["endpoint"] for row in rows}:
        own = [row for row in rows if row["endpoint"] == endpoint and row.get("prompt_tokens")]
        if len(own) < _FEWEST:
            continue
        prompt = np.array([row["prompt_tokens"] for row in own], dtype=float)
        computed = prompt - np.array([row.get("cached_tokens") or 0 for row in own])
        columns = np.stack([np.ones(len(own)), prompt, computed, computed**2], axis=1)
        seen = np.log([row[name] for row in own])
        fitted = columns @ np.linalg.lstsq(columns, seen, rcond=None)[0]
        left += np.abs(seen - fitted).tolist()
    return left


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
