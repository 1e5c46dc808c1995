"""Step times hidden in a request log: where the RTX PRO 6000 numbers of the profiles come from.

All tokens of one engine step carry one time stamp, and a request that is never preempted
gets one token per step: its first and last time stamps lie ``output - 1`` steps apart. A
request scheduled right after some step's stamp, with its prompt within one step's budget,
gets its first token ``AHEAD`` steps later. So most stamps can be numbered, and the time
between two neighbours is known steps with known contents: how many decode, their context,
and the prompt computed. ``AHEAD`` is 2, a step more than an engine that schedules when a
step ends: vLLM schedules one step ahead. With 1 or 3 the numbers contradict each other.

:func:`fit` gives ``real_ratio`` and ``e_prefill_ms_per_ktok_ctx`` of ``profiles.json``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from benchmarks.fidelity.rows import Row
from simulator.profiles import Profile

AHEAD: Final = 2
AT_ONCE_S: Final = 0.0005
"""From a step's stamp to the scheduling of the next: 0.1 ms in the log, steps take 11 and more."""
MOST_STEPS: Final = 16
"""Longer stretches say little about one step and have changing contents."""
PLAUSIBLE: Final = (0.8, 1.6)
"""Real time over the tables'; outside it lie stalls and stretches of uncertain contents."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One recorded request; times in seconds on one clock."""

    scheduled_s: float
    first_s: float
    last_s: float
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int

    @property
    def new_tokens(self) -> int:
        """Count the prompt tokens it had computed."""
        return self.prompt_tokens - self.cached_tokens

    def decodes_at(self, now: float) -> bool:
        """Tell whether it is in the batch, decoding, after the step that ended at ``now``."""
        return self.first_s <= now < self.last_s

    def context_at(self, now: float) -> float:
        """Give its context in tokens while it decodes."""
        done = (now - self.first_s) / (self.last_s - self.first_s)
        return self.prompt_tokens + done * (self.output_tokens - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Steps between two numbered stamps: all decode; the last one may prefill too."""

    steps: int
    real_s: float
    decoding: int
    context_tokens: float
    chunks: tuple[tuple[int, int], ...]

    def composed_s(self, profile: Profile) -> float:
        """Time it by a profile, without noise."""
        context = round(self.context_tokens)
        decode_s = profile.step_s([], self.decoding, context)
        if not self.chunks:
            return self.steps * decode_s
        return (self.steps - 1) * decode_s + profile.step_s(self.chunks, self.decoding, context)


class StepNumbers:
    """Number time stamps by the distances known between them."""

    def __init__(self) -> None:
        self._parent: dict[float, tuple[float, int]] = {}
        self.contradictions = 0

    def link(self, early: float, late: float, steps: int) -> None:
        """Note that one stamp lies so many steps after another."""
        (root, before), (other, after) = self.find(early), self.find(late)
        if root == other:
            self.contradictions += after - before != steps
        else:
            self._parent[other] = root, before + steps - after

    def find(self, stamp: float) -> tuple[float, int]:
        """Give a stamp's group and its number in it."""
        number = 0
        while stamp in self._parent:
            stamp, offset = self._parent[stamp]
            number += offset
        return stamp, number


def numbers(log: Sequence[Served], budget: int, ahead: int = AHEAD) -> StepNumbers:
    """Number the stamps of a log."""
    known = StepNumbers()
    for served in log:
        known.link(served.first_s, served.last_s, served.output_tokens - 1)
    stamps = _stamps(log)
    for group in _by_schedule(log):
        before = np.searchsorted(stamps, group[0].scheduled_s) - 1
        at_once = before >= 0 and group[0].scheduled_s - stamps[before] < AT_ONCE_S
        new = sum(served.new_tokens for served in group)
        if at_once and new < budget * 0.9 and len({served.first_s for served in group}) == 1:
            known.link(float(stamps[before]), group[0].first_s, ahead)
    return known


def stretches(log: Sequence[Served], budget: int) -> list[Stretch]:
    """Find the stretches of at most ``MOST_STEPS`` whose contents are known."""
    known = numbers(log, budget)
    groups: dict[float, list[tuple[int, float]]] = {}
    for stamp in _stamps(log):
        root, number = known.find(float(stamp))
        groups.setdefault(root, []).append((number, float(stamp)))
    found = []
    for group in groups.values():
        for (low, begin_s), (high, end_s) in pairwise(group):
            if 0 < high - low <= MOST_STEPS:
                found += _stretch(log, high - low, begin_s, end_s, budget)
    return found


def fit(found: Iterable[Stretch], tables: Profile) -> tuple[float, float]:
    """Fit the ratio to the tables and the context term of steps that prefill.

    Args:
        found: Stretches of one model.
        tables: Its profile as composed from kernel tables, without corrections.

    Returns:
        The ratio, and seconds per 1e3 tokens of context in steps that prefill. Least
        squares of relative errors, each stretch weighed by its steps.
    """
    kept = [one for one in found if _plausible(one, tables)]
    composed = np.array([one.composed_s(tables) for one in kept])
    context = np.array([one.context_tokens / 1e3 if one.chunks else 0.0 for one in kept])
    real = np.array([one.real_s for one in kept])
    weight = np.sqrt([one.steps for one in kept]) / real
    terms = np.stack([composed, context], axis=1)
    (ratio, extra_s), *_ = np.linalg.lstsq(terms * weight[:, None], real * weight, rcond=None)
    return float(ratio), float(ratio * tables.context_s + extra_s)


def rows(name: str, log: Sequence[Served], budget: int, profile: Profile) -> list[Row]:
    """Compare the time of known steps; show how many contradictions each ``ahead`` gives."""
    found = [one for one in stretches(log, budget) if _plausible(one, profile)]
    kinds = (
        ("steps that only decode, median ratio", [one for one in found if not one.chunks]),
        ("stretches that prefill, median ratio", [one for one in found if one.chunks]),
    )
    clashes = [numbers(log, budget, ahead).contradictions for ahead in (1, 2, 3)]
    return [
        Row(
            data=name,
            quantity=quantity,
            real=1.0,
            simulated=[float(np.median([one.composed_s(profile) / one.real_s for one in chosen]))],
            limit=None,
            unit="x",
            note=f"{sum(one.steps for one in chosen)} steps; contradictions if scheduled "
            f"0, 1, 2 steps ahead: {clashes[0]}, {clashes[1]}, {clashes[2]}",
        )
        for quantity, chosen in kinds
    ]


def without_corrections(profile: Profile, ratio: float) -> Profile:
    """Take a profile's corrections back, to what was composed from kernel tables."""
    return replace(
        profile,
        base_s=tuple(value / ratio for value in profile.base_s),
        slopes_s=tuple(value / ratio for value in profile.slopes_s),
        attention_s=profile.attention_s / ratio,
        decoding_s=profile.decoding_s / ratio,
        context_s=profile.context_s / ratio,
        prefill_context_s=profile.context_s / ratio,
        prefill_s=profile.prefill_s / ratio,
    )


def _stretch(
    log: Sequence[Served], steps: int, begin_s: float, end_s: float, budget: int
) -> list[Stretch]:
    """Give the stretch, or nothing where a prompt lies inside it or over several steps."""
    started = [served for served in log if begin_s < served.first_s <= end_s]
    decoding = [served for served in log if served.decodes_at(begin_s)]
    new = sum(served.new_tokens for served in started)
    if any(served.first_s != end_s for served in started) or new + len(decoding) > budget:
        return []
    return [
        Stretch(
            steps=steps,
            real_s=end_s - begin_s,
            decoding=len(decoding),
            context_tokens=sum(served.context_at(begin_s) for served in decoding)
            + steps / 2 * len(decoding),
            chunks=tuple((served.new_tokens, served.cached_tokens) for served in started),
        )
    ]


def _plausible(one: Stretch, profile: Profile) -> bool:
    return PLAUSIBLE[0] < one.real_s / one.composed_s(profile) < PLAUSIBLE[1]


def _stamps(log: Sequence[Served]) -> np.ndarray:
    return np.array(sorted({stamp for served in log for stamp in (served.first_s, served.last_s)}))


def _by_schedule(log: Sequence[Served]) -> list[list[Served]]:
    groups: dict[float, list[Served]] = {}
    for served in sorted(log, key=lambda served: served.scheduled_s):
        groups.setdefault(served.scheduled_s, []).append(served)
    return list(groups.values())
