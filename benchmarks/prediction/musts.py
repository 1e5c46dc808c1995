"""What must be reached on the known recorded sets, with the published reference beside it.

Source of limits, reference figures and noise floors (i.i.d. cross-validation with the
router's features): the study these benchmarks continue. Sets that are not named here are
shown and not judged.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.prediction.rowset import DELAYED, ROW_BY_ROW, TARGETS, Target
from benchmarks.prediction.scores import Figures

KNOWN: Final = ("sharegpt", "bimodal", "B200 tp1", "B200 het")
COVERAGE: Final = (0.88, 0.92)
DRIFT_FACTOR: Final = 1.5
DRIFT_POINTS: Final = 0.03
Key = tuple[str, str, Target]
"""Set, order of labels, target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Must:
    """Name one figure's bounds, all fractions.

    Attributes:
        key: What it is a figure of.
        figure: Name in ``scores.figures``.
        most: Largest value that passes.
        least: Smallest one, ``None`` for any.
        published: What the study found for the reference.
        floor: Noise floor of the study.
    """

    key: Key
    figure: str
    most: float
    least: float | None = None
    published: float | None = None
    floor: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Tell how a must came out.

    Attributes:
        what: In words.
        ours: Our figure, ``None`` where too few labels gave none: that falls short.
        reference: The reference's in the same run, ``None`` without one.
        must: The bounds in words.
        passes: Whether ours keeps them.
        published: What the study found for the reference.
        floor: Noise floor of the study.
    """

    what: str
    ours: float | None
    reference: float | None
    must: str
    passes: bool
    published: float | None = None
    floor: float | None = None


_Pair = tuple[float, float]


def _both(
    name: str, order: str, figure: str, percents: tuple[_Pair, _Pair], floor: _Pair | None = None
) -> list[Must]:
    """Give the musts of TTFT and TPOT: limits, the published reference and floors, in %."""
    most, published = percents
    return [
        Must(
            key=(name, order, target),
            figure=figure,
            most=most[index] / 100,
            published=published[index] / 100,
            floor=None if floor is None else floor[index] / 100,
        )
        for index, target in enumerate(TARGETS)
    ]


MUSTS: Final[tuple[Must, ...]] = (
    *_both("sharegpt", ROW_BY_ROW, "mape", ((14, 4), (112, 7.3)), (12.9, 4.0)),
    *_both("bimodal", ROW_BY_ROW, "mape", ((9, 8), (29, 10.1)), (8.3, 7.1)),
    *_both("bimodal", DELAYED, "mape", ((11, 8.1), (47, 11.7))),
    *_both("sharegpt", ROW_BY_ROW, "mape_first_500", ((20, 5), (272, 13))),
    *_both("bimodal", ROW_BY_ROW, "mape_first_500", ((26, 15), (80, 19))),
    *_both("B200 tp1", DELAYED, "mape_after_500", ((10, 3.3), (12.2, 5.4)), (10.1, 5.0)),
    *_both("B200 het", DELAYED, "mape_after_500", ((9, 7), (11.9, 9.3)), (7.5, 5.0)),
    *(
        Must(key=(name, order, target), figure="p90_coverage", least=COVERAGE[0], most=COVERAGE[1])
        for name in KNOWN
        for order in (ROW_BY_ROW, DELAYED)
        for target in TARGETS
    ),
)


def judge(ours: Mapping[Key, Figures], reference: Mapping[Key, Figures]) -> list[Verdict]:
    """Judge every must whose set was played."""
    return [
        _verdict(must, ours[must.key], reference.get(must.key, {}))
        for must in MUSTS
        if must.key in ours
    ]


def _verdict(must: Must, ours: Figures, reference: Figures) -> Verdict:
    name, order, target = must.key
    value = ours[must.figure]
    least = 0.0 if must.least is None else must.least
    bounds = f"{must.most:.1%}" if must.least is None else f"{must.least:.0%} to {must.most:.0%}"
    return Verdict(
        what=f"{name}, {order}, {target.upper()} {must.figure.replace('_', ' ')}",
        ours=value,
        reference=reference.get(must.figure),
        must=bounds,
        passes=value is not None and least <= value <= must.most,
        published=must.published,
        floor=must.floor,
    )


def judge_drift(
    key: Key, *, before: float | None, ours: float | None, reference: float | None
) -> Verdict:
    """Judge the error some labels after a change against the same rows without it.

    >>> verdict = judge_drift(("bimodal", "row by row", "ttft"), before=0.02, ours=0.045,
    ...     reference=0.4)
    >>> verdict.must, verdict.passes
    ('5.0%', True)
    """
    name, order, target = key
    most = None if before is None else max(before * DRIFT_FACTOR, before + DRIFT_POINTS)
    return Verdict(
        what=f"{name}, {order}, {target.upper()} x1.7, labels 100 to 300 after",
        ours=ours,
        reference=reference,
        must="-" if most is None else f"{most:.1%}",
        passes=ours is not None and most is not None and ours <= most,
    )
