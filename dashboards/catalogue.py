"""Every family of metrics that a service can publish: the source of its documentation.

Read from the registry of a service that is built and not run, so that nothing can be
published that is not here. Called when files are written (:mod:`dashboards.build`) and by
tests, never by a running service.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry

from foretoken.build import build
from foretoken.settings import Settings
from foretoken.worker_metrics import worker_families

_SUFFIXES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "counter": {"_total": ()},
    "gauge": {"": ()},
    "histogram": {"_bucket": ("le",), "_count": (), "_sum": ()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Describe a family.

    Attributes:
        name: As it is published; a counter's ends in ``_total``.
        kind: ``counter``, ``gauge`` or ``histogram``.
        labels: Names of its labels, ``le`` aside.
        text: What it says.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str

    @property
    def series(self) -> dict[str, set[str]]:
        """Give the labels of its series by their names.

        >>> Family(name="a_total", kind="counter", labels=("x",), text="").series
        {'a_total': {'x'}}
        """
        stem = self.name.removesuffix("_total")
        suffixes = _SUFFIXES[self.kind]
        return {stem + suffix: {*self.labels, *more} for suffix, more in suffixes.items()}


def families() -> list[Family]:
    """List every family a service can publish, by name."""
    settings = Settings.model_validate({"endpoints": [{"url": "http://127.0.0.1:9"}]})
    found = {family.name: family for family in _registered(build(settings).registry)}
    for metric in worker_families(up=[], leads=[], restarts=[]):
        family = _family(metric)
        found[family.name] = family
    return sorted(found.values(), key=lambda family: family.name)


def _registered(registry: CollectorRegistry) -> Iterator[Family]:
    # There is no public way to list families together with the names of their labels.
    for collector in registry._collector_to_names:  # noqa: SLF001
        declared = hasattr(collector, "_labelnames")
        for one in [collector] if declared else collector.collect():
            yield _family(one)


def _family(one: object) -> Family:
    kind, name = _told(one, "type"), _told(one, "name")
    return Family(
        name=f"{name}_total" if kind == "counter" else name,
        kind=kind,
        labels=tuple(_told(one, "labelnames")),
        text=_told(one, "documentation"),
    )


def _told(one: object, what: str) -> Any:  # noqa: ANN401  # whatever it is
    """Read an attribute that prometheus-client's metrics and other families name differently."""
    own: Any = getattr(one, f"_{what}", None)
    return getattr(one, what) if own is None else own
