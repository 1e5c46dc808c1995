"""Make one metrics page out of every worker's.

Counters and histograms add up. What a gauge of the whole is, its name says by its unit:
numbers of requests, bytes, answers and connections add up, ratios are the mean, ages and
times of creation the least. What is the same everywhere but for a moment (whether an
endpoint is up, which model is in use) is named below, and the most wins, as of whatever
nobody has said anything about. Every worker's predictors
learn from the same observations: what they count of them is not counted again.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

_Merge = Callable[[Sequence[float]], float]

_ADD_UP: Final = ("_requests", "_bytes", "_answers", "_connections")
_LEAST: Final = ("_created", "_age_seconds")
_SAME: Final = (
    "_up",
    "_suspect",
    "_fallback_level",
    "_info",
    "_cache_exact",
    "_announced_blocks",
    "_training_rows",
)
_SEEN_BY_ALL: Final = frozenset(
    {"foretoken_drift_events_total", "foretoken_refused_observations_total"}
)


@dataclass(slots=True)
class _Family:
    head: list[str] = field(default_factory=list)
    kind: str = "untyped"
    samples: dict[str, list[float]] = field(default_factory=dict)


def merged_page(pages: Iterable[bytes]) -> bytes:
    r"""Merge pages in Prometheus' text format; the first one's order is kept.

    >>> one = b'# TYPE a_total counter\na_total{x="1"} 2.0\n'
    >>> other = b'# TYPE a_total counter\na_total{x="1"} 3.0\na_total{x="2"} 1.0\n'
    >>> print(merged_page((one, other)).decode(), end="")
    # TYPE a_total counter
    a_total{x="1"} 5.0
    a_total{x="2"} 1.0
    """
    families: dict[str, _Family] = {}
    for page in pages:
        _read(page.decode(), families)
    lines: list[str] = []
    for name, family in families.items():
        merge = _rule(name, family.kind)
        lines += family.head
        lines += [f"{sample} {merge(values)!r}" for sample, values in family.samples.items()]
    return "".join(f"{line}\n" for line in lines).encode()


def _read(page: str, families: dict[str, _Family]) -> None:
    family, is_news = _Family(), True
    for line in page.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            if name not in families:
                families[name] = family = _Family()
                is_news = True
            elif families[name] is not family:
                family, is_news = families[name], False
            if is_news:
                family.head.append(line)
                family.kind = rest if word == "TYPE" else family.kind
        elif line:
            sample, _, value = line.rpartition(" ")
            family.samples.setdefault(sample, []).append(float(value))


def says_how(gauge: str) -> bool:
    """Say whether anybody has decided what a gauge of the whole is.

    >>> says_how("foretoken_waiting_requests"), says_how("foretoken_things")
    (True, False)
    """
    return gauge.endswith((*_ADD_UP, *_LEAST, *_SAME, "_ratio"))


def _rule(name: str, kind: str) -> _Merge:
    """Say how a family's values become one.

    >>> rules = [_rule("a_requests", "gauge"), _rule("a_ratio", "gauge"), _rule("a_up", "gauge")]
    >>> [merge([1.0, 3.0]) for merge in rules]
    [4.0, 2.0, 3.0]
    """
    if name.endswith(_LEAST):
        return min
    if name in _SEEN_BY_ALL:
        return max
    if kind in {"counter", "histogram", "summary"} or name.endswith(_ADD_UP):
        return sum
    return _mean if name.endswith("_ratio") else max


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
