"""A first guess of step times from recorded latencies, and which endpoints are alike.

Decides only where a fit begins, and which endpoints share one: those of one hardware
label, or, without labels, those whose guesses agree. Reads how many decoded beside each
request from the recording itself. Called by :mod:`foretoken.replay.fleets`.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from foretoken.replay.demand import Demand
from foretoken.replay.recorded import Recorded
from foretoken.replay.steps import (
    ATTENTION,
    BEND,
    CONTEXT,
    DECODING,
    HIGHEST,
    LOWEST,
    REQUEST,
    STEP,
    TOKEN,
    USUAL,
)
from predictor.fit import fit_nonnegative
from predictor.types import FloatArray

LEAST_ROWS: Final = 30
"""Latencies below which an endpoint has no guess of its own."""

_ALIKE: Final = 1.35
"""Most that two endpoints of one class differ by, in prefill or decode."""

_RIDGE_ROWS: Final = 2.0
_TYPICAL_BATCH: Final = 16.0
_TYPICAL_PROMPT_TOKENS: Final = 1000.0


def guess(demand: Demand, rows: Sequence[Recorded]) -> FloatArray:
    """Guess the parameters of one endpoint, or of several alike, from its requests.

    Args:
        demand: What was sent.
        rows: Requests that ran there, answered, in order of arrival.
    """
    values = USUAL.copy()
    _guess_decode(values, demand, rows)
    _guess_prefill(values, demand, rows)
    bounded: FloatArray = np.clip(values, LOWEST, HIGHEST)
    return bounded


def alike(guesses: dict[str, FloatArray], labels: dict[str, str | None]) -> list[list[str]]:
    """Sort endpoints into classes; one without a guess joins the largest of its label.

    >>> fast, slow = USUAL, USUAL * 3
    >>> alike({"a": fast, "b": slow, "c": fast}, {"a": None, "b": None, "c": None, "d": None})
    [['a', 'c', 'd'], ['b']]
    """
    classes: list[tuple[str | None, list[str]]] = []
    for name in sorted(guesses, key=lambda name: (_sizes(guesses[name]).tolist(), name)):
        label = labels[name]
        for known, members in classes:
            same = known == label and label is not None
            if same or (known == label and _near(guesses[members[-1]], guesses[name])):
                members.append(name)
                break
        else:
            classes.append((label, [name]))
    for name in sorted(set(labels) - set(guesses)):
        fitting = [members for known, members in classes if known == labels[name]]
        target = max(fitting or [members for _, members in classes], key=len)
        target.append(name)
    return sorted((sorted(members) for _, members in classes), key=lambda each: each[0])


def _near(one: FloatArray, other: FloatArray) -> bool:
    return bool(np.all(np.abs(np.log(_sizes(one) / _sizes(other))) < np.log(_ALIKE)))


def _sizes(values: FloatArray) -> FloatArray:
    """Give the seconds of a typical decode step and of a typical prefill."""
    decode_s = values[STEP] + _TYPICAL_BATCH * (values[DECODING] + values[CONTEXT])
    prefill_s = values[STEP] + _TYPICAL_PROMPT_TOKENS * values[TOKEN]
    return np.array([decode_s, prefill_s])


def _guess_decode(values: FloatArray, demand: Demand, rows: Sequence[Recorded]) -> None:
    timed = [one for one in rows if one.tpot_s and one.e2e_s and one.upstream_ttft_s]
    if len(timed) < LEAST_ROWS // 2:
        return
    firsts, ends = np.sort([_first(one) for one in timed]), np.sort([_end(one) for one in timed])
    middle = np.array([(_first(one) + _end(one)) / 2 for one in timed])
    beside = np.searchsorted(firsts, middle) - np.searchsorted(ends, middle)
    design = np.column_stack([np.ones(len(timed)), np.maximum(beside, 1.0)])
    tpot_s = np.array([one.tpot_s or np.nan for one in timed])
    low_s = float(np.percentile(tpot_s, 10))
    step_s, each_s = _nonnegative(design, tpot_s, np.array([low_s, low_s / 200]))
    held = float(np.mean([demand.prompt_tokens[one.number] for one in timed])) / 1e3
    values[:BEND] *= step_s / USUAL[STEP]
    values[DECODING] = max(each_s / 2, values[DECODING] / 4)
    values[CONTEXT] = max(each_s / 2 / max(held, 0.1), values[CONTEXT] / 4)


def _guess_prefill(values: FloatArray, demand: Demand, rows: Sequence[Recorded]) -> None:
    first = [one for one in rows if one.upstream_ttft_s]
    sent_s = np.array([_sent(one) for one in first])
    firsts = np.sort([_first(one) for one in first])
    ahead = np.searchsorted(np.sort(sent_s), sent_s) - np.searchsorted(firsts, sent_s)
    alone = [one for one, others in zip(first, ahead, strict=True) if others <= 0]
    first = alone if len(alone) >= LEAST_ROWS // 2 else first
    if len(first) < LEAST_ROWS // 2:
        return
    tokens = np.array([_uncached(demand, one) for one in first], dtype=np.float64)
    ttft_s = np.array([one.upstream_ttft_s or np.nan for one in first])
    design = np.column_stack([np.ones(len(first)), tokens])
    start = np.array([values[REQUEST] + values[STEP], values[TOKEN]])
    constant_s, token_s = _nonnegative(design, ttft_s, start)
    values[ATTENTION] *= token_s / values[TOKEN]
    values[TOKEN] = token_s
    values[REQUEST] = max(constant_s - 1.5 * values[STEP], 0.002)


def _uncached(demand: Demand, one: Recorded) -> int:
    return max(1, demand.prompt_tokens[one.number] - (one.cached_tokens or 0))


def _nonnegative(design: FloatArray, target: FloatArray, prior: FloatArray) -> FloatArray:
    unit = np.maximum(prior, 1e-9)
    weight = np.ones(len(target))
    found = fit_nonnegative(
        design * unit, target, weight, prior=np.ones(len(prior)), ridge_rows=_RIDGE_ROWS
    )
    return np.maximum(found * unit, unit / 20)


def _sent(one: Recorded) -> float:
    return one.arrived_s if one.dispatched_s is None else one.dispatched_s


def _first(one: Recorded) -> float:
    return _sent(one) + (one.upstream_ttft_s or 0.0)


def _end(one: Recorded) -> float:
    return one.arrived_s + (one.e2e_s or 0.0)
