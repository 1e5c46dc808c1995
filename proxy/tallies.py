"""Counters and histograms that a request pays next to nothing for.

prometheus-client takes a lock and builds an object for every count, which is right for
threads and too dear for the event loop. These count in plain numbers and become its
families when somebody scrapes: same names, same samples in the same order, so that a page
reads as if prometheus-client had counted. One thread writes, the one that collects.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import INF, floatToGoString

from proxy.counts import Count, Spread

_Series = TypeVar("_Series", Count, Spread)


class _Family(Collector, Generic[_Series]):
    """Keep the series of one name by the values of its labels."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._series: dict[tuple[str, ...], _Series] = {}

    def labels(self, *values: str) -> _Series:
        """Give the series of these label values, made when first asked for."""
        series = self._series.get(values)
        if series is None:
            if len(values) != len(self._labels):
                msg = f"{len(values)} values for the labels {self._labels}"
                raise ValueError(msg)
            series = self._series[values] = self._new()
        return series

    def forget(self, label: str, value: str) -> None:
        """Drop every series in which a label has this value."""
        position = self._labels.index(label)
        for values in [each for each in self._series if each[position] == value]:
            del self._series[values]

    def collect(self) -> Iterable[Metric]:
        """Give the family as it stands."""
        family = self._family()
        for values, series in self._series.items():
            self._add(family, dict(zip(self._labels, values, strict=True)), series)
        return [family]

    def describe(self) -> Iterable[Metric]:
        """Give the family without its series, for the registry to know the name."""
        return [self._family()]

    def _new(self) -> _Series:
        raise NotImplementedError

    def _family(self) -> Metric:
        raise NotImplementedError

    def _add(self, family: Metric, labels: dict[str, str], series: _Series) -> None:
        raise NotImplementedError


class Counters(_Family[Count]):
    """Be a counter by labels; ``_total`` is added to the name."""

    def __init__(
        self, name: str, text: str, labels: Sequence[str] = (), *, registry: CollectorRegistry
    ) -> None:
        super().__init__(labels)
        self._name, self._text = name, text
        if not labels:
            self.labels()  # a series of its own: 0 from the start
        registry.register(self)

    def _new(self) -> Count:
        return Count()

    def _family(self) -> Metric:
        return CounterMetricFamily(self._name, self._text, labels=self._labels)

    def _add(self, family: Metric, labels: dict[str, str], series: Count) -> None:
        family.add_sample(f"{self._name}_total", labels, series.total)
        family.add_sample(f"{self._name}_created", labels, series.created_s)


class Histograms(_Family[Spread]):
    """Be a histogram by labels; the bucket above all bounds comes by itself."""

    def __init__(
        self,
        name: str,
        text: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        super().__init__(labels)
        self._name, self._text = name, text
        self._bounds = tuple(float(bound) for bound in buckets)
        # prometheus-client ships no types for it
        self._le = [floatToGoString(bound) for bound in (*self._bounds, INF)]  # type: ignore[no-untyped-call]
        if not labels:
            self.labels()
        registry.register(self)

    def _new(self) -> Spread:
        return Spread(self._bounds)

    def _family(self) -> Metric:
        return HistogramMetricFamily(self._name, self._text, labels=self._labels)

    def _add(self, family: Metric, labels: dict[str, str], series: Spread) -> None:
        seen = 0
        for bucket, (le, count) in enumerate(zip(self._le, series.counts, strict=True)):
            seen += count
            example = series.examples.get(bucket)
            exemplar = None
            if example is not None:
                trace_id, value, at_s = example
                exemplar = Exemplar({"trace_id": trace_id}, value, at_s)
            name = f"{self._name}_bucket"
            family.add_sample(name, {**labels, "le": le}, seen, exemplar=exemplar)
        family.add_sample(f"{self._name}_count", labels, seen)
        if self._bounds[0] >= 0:  # a sum that can fall would read as a reset
            family.add_sample(f"{self._name}_sum", labels, series.total)
        family.add_sample(f"{self._name}_created", labels, series.created_s)
