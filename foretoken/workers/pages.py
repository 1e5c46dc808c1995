"""Make one metrics page out of every worker's.

Counters and histograms add up. What a gauge of the whole is, its name says by its unit:
numbers of requests, bytes, answers and connections add up, ratios are the mean, ages and
times of creation the least. What is the same everywhere but for a moment (whether an
endpoint is up, which model is in use) is named below, and the most wins, as of whatever
nobody has said anything about. Every worker's predictors learn from the same observations:
what they count of them is not counted again. Pages are in Prometheus' text format, or in
OpenMetrics, whose exemplars are kept.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

_Merge = Callable[[Sequence[float]], float]

_ADD_UP: Final = ("_requests", "_bytes", "_answers", "_connections", "_fds", "_demand_share_ratio")
_LEAST: Final = (
    *("_created", "_age_seconds", "_max_fds", "_start_time_seconds"),
    *("_routers_connected", "_routers_known"),  # one that is cut off is worth knowing of
)
_SAME: Final = (
    "_up",
    "_suspect",
    "_fallback_level",
    "_info",
    "_cache_exact",
    "_announced_blocks",
    "_announced_blocks_ratio",
    "_training_rows",
    "_skipped",
    "_objective_seconds",
    "_wait_seconds",
    "_leads",
    "_discovery_endpoints",
)
# What is known of an endpoint, a fleet or other routers every worker knows alike.
_OF_ALL: Final = ("foretoken_endpoint_", "foretoken_fleet_", "foretoken_routers_")
_SEEN_BY_ALL: Final = frozenset(
    {
        "foretoken_discovery_updates_total",
        "foretoken_drift_events_total",
        "foretoken_prediction_labels_total",
        "foretoken_refused_observations_total",
    }
)
# One that is written in our label alone: whatever else a line ends in is its value.
_EXEMPLAR: Final = re.compile(r' # \{trace_id="[0-9a-f]{32}"\} \S+ (\S+)$')
_END: Final = "# EOF"


@dataclass(slots=True)
class _Family:
    head: list[str] = field(default_factory=list)
    kind: str = "untyped"
    samples: dict[str, list[float]] = field(default_factory=dict)
    exemplars: dict[str, tuple[float, str]] = field(default_factory=dict)

    def add(self, line: str) -> None:
        """Take in a sample; of its exemplars the latest is kept."""
        found = _EXEMPLAR.search(line)
        if found is not None:
            line = line[: found.start()]
        sample, _, value = line.rpartition(" ")
        self.samples.setdefault(sample, []).append(float(value))
        if found is not None:
            news = (float(found[1]), found[0])
            self.exemplars[sample] = max(self.exemplars.get(sample, news), news)

    def lines(self) -> Iterator[str]:
        """Give it as of all workers."""
        yield from self.head
        for sample, values in self.samples.items():
            merge = _rule(sample.partition("{")[0], self.kind)
            _, exemplar = self.exemplars.get(sample, (0.0, ""))
            yield f"{sample} {merge(values)!r}{exemplar}"


def merged_page(pages: Iterable[bytes]) -> bytes:
    r"""Merge pages, all of one encoding; the first one's order is kept.

    >>> one = b'# TYPE a_total counter\na_total{x="1"} 2.0\n'
    >>> other = b'# TYPE a_total counter\na_total{x="1"} 3.0\na_total{x="2"} 1.0\n'
    >>> print(merged_page((one, other)).decode(), end="")
    # TYPE a_total counter
    a_total{x="1"} 5.0
    a_total{x="2"} 1.0
    """
    families: dict[str, _Family] = {}
    ends = [_read(page.decode(), families) for page in pages]
    lines = [line for family in families.values() for line in family.lines()]
    if any(ends):
        lines.append(_END)
    return "".join(f"{line}\n" for line in lines).encode()


def _read(page: str, families: dict[str, _Family]) -> bool:
    """Take in a page; say whether it is one of those that mark their end."""
    family, is_news = _Family(), True
    for line in page.split("\n"):  # names may hold what else ends lines elsewhere
        if line == _END:
            return True
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
            family.add(line)
    return False


def says_how(gauge: str) -> bool:
    """Say whether anybody has decided what a gauge of the whole is.

    >>> says_how("foretoken_waiting_requests"), says_how("foretoken_things")
    (True, False)
    """
    return gauge.startswith(_OF_ALL) or gauge.endswith((*_ADD_UP, *_LEAST, *_SAME, "_ratio"))


def _rule(name: str, kind: str) -> _Merge:
    """Say how a sample's values become one.

    >>> rules = [_rule("a_requests", "gauge"), _rule("a_ratio", "gauge"), _rule("a_up", "gauge")]
    >>> [merge([1.0, 3.0]) for merge in rules]
    [4.0, 2.0, 3.0]
    """
    if name.endswith(_LEAST):
        return min
    if name in _SEEN_BY_ALL:
        return max
    if kind in {"counter", "histogram", "summary"}:
        return sum
    if name.startswith(_OF_ALL) or name.endswith(_SAME):
        return max
    if name.endswith(_ADD_UP):
        return sum
    return _mean if name.endswith("_ratio") else max


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
