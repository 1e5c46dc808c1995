"""Write docs/metrics.md: every metric with its type, labels, unit and meaning.

Groups are by name; a family that no group takes is an error, so that whoever adds one
says where people should look for it. Called by :mod:`dashboards.build`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboards.catalogue import Family


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    title: str
    text: str
    stems: tuple[str, ...]


_HEAD: Final = """\
# Metrics

<!-- Written by `make dashboards` from the registry; edit the code that registers a metric. -->

`GET /metrics` gives Prometheus' text format, and OpenMetrics to whoever asks for \
`application/openmetrics-text`. Names are `foretoken_<noun>_<unit>`; units are seconds, bytes, \
tokens and ratios (0 to 1 unless the meaning says otherwise). Labels are small closed sets. What \
is unknown is left out, never 0; counters of small closed sets are there at 0 from the start. With \
`--workers N` the page is that of all workers, whichever of them is asked \
([how they are merged](workers.md)).

Observed and predicted times share a stem and buckets, and are counted for the same requests: \
those that completed, of which the quantity was measured; predicted ones where there was a \
prediction. In OpenMetrics the buckets of `foretoken_request_ttft_seconds`, `..._tpot_seconds` and \
`..._e2e_seconds` carry the trace id of the last request with a `traceparent` as an exemplar \
(Prometheus keeps them with `--enable-feature=exemplar-storage`).

Histograms of values that may be negative have no `_sum`: a sum that falls reads as a restart.

The [recording rules](../dashboards/prometheus/recording.yml) derive from these what alerts and \
dashboards look at.
"""

_GROUPS: Final = (
    _Group(
        title="Requests",
        text="Labels: `outcome` is how a request ended (`completed`, `client_gone`, "
        "`client_error`, `upstream_error`, `cut`, `shed`, `shutdown`), `reason` why that path "
        "decided, or how the router answered by itself; `tier` the tier of service, `none` for one "
        "that is not configured; `policy` who decided.",
        stems=(
            *("foretoken_requests", "foretoken_request_ttft", "foretoken_request_predicted_ttft"),
            *("foretoken_request_tpot", "foretoken_request_predicted_tpot"),
            *("foretoken_request_itl", "foretoken_request_predicted_itl"),
            *("foretoken_request_e2e", "foretoken_request_predicted_e2e"),
            *("foretoken_prompt_tokens", "foretoken_output_tokens", "foretoken_retries"),
            *("foretoken_rejected", "foretoken_shed", "foretoken_slo", "foretoken_retry_budget"),
        ),
    ),
    _Group(
        title="Decisions",
        text="What decided, how long that took, and what another policy would have done.",
        stems=("foretoken_decision", "foretoken_fallback", "foretoken_shadow"),
    ),
    _Group(
        title="Predictions and models",
        text="`target` is `ttft` or `tpot`; `layer` what a prediction rested on: `cold`, `prior` "
        "(physics) or `mixture` (all experts). Coverage of a stated quantile is "
        "`foretoken_prediction_covered_requests_total` over the count of "
        "`foretoken_request_prediction_error_ratio`, both as rates.",
        stems=(
            *("foretoken_request_prediction", "foretoken_prediction", "foretoken_expert"),
            *("foretoken_model", "foretoken_drift", "foretoken_refused_observations"),
            "foretoken_unlearned",
        ),
    ),
    _Group(
        title="Training and records",
        text="`result` of a training is `accepted`, or why its model was not published.",
        stems=("foretoken_train", "foretoken_trace"),
    ),
    _Group(
        title="Endpoints",
        text="Series of an endpoint that leaves go with it. `foretoken_endpoint_*_requests` and "
        "the KV cache's usage are the endpoint's own words, as scraped.",
        stems=("foretoken_endpoint", "foretoken_inflight", "foretoken_queued", "foretoken_scrape"),
    ),
    _Group(
        title="Discovery",
        text="What sources of endpoints are told ([discovery.md](discovery.md)); `source` is the "
        "name of a `[[discovery]]` table, `reason` why its authority's word is not known. With "
        "several workers the one that leads asks.",
        stems=("foretoken_discovery",),
    ),
    _Group(
        title="Room, for people and autoscalers",
        text="`foretoken_fleet_saturation_ratio` is what an autoscaler should hold, at 0.7 say; "
        "`foretoken_waiting_requests` above 0 says that it is too late.",
        stems=("foretoken_fleet",),
    ),
    _Group(
        title="The queue here",
        text="Requests that wait in this router, dispatched to nobody yet.",
        stems=("foretoken_waiting", "foretoken_queue", "foretoken_oldest"),
    ),
    _Group(
        title="Prefix caches",
        text="What was believed to be cached, and what endpoints then reported; `index` is `exact` "
        "where the endpoint announced its blocks by KV events.",
        stems=(
            *("foretoken_prefix", "foretoken_kv_event", "foretoken_announced"),
            "foretoken_tokenized",
        ),
    ),
    _Group(
        title="Response cache",
        text="Of whole answers, where it is on.",
        stems=("foretoken_response_cache",),
    ),
    _Group(
        title="The process",
        text="`process_*` are prometheus-client's; with several workers their sum, "
        "the trainer's not among them.",
        stems=(
            *("foretoken_build", "foretoken_background", "foretoken_log", "foretoken_worker"),
            *("process_", "foretoken_traced"),
        ),
    ),
)

_UNITS: Final = {
    "_per_second": "1/s",
    "_seconds": "s",
    "_bytes": "bytes",
    "_tokens": "tokens",
    "_ratio": "ratio",
    "_requests": "requests",
    "_blocks": "blocks",
    "_info": "1",
    **dict.fromkeys(
        ("_up", "_draining", "_suspect", "_skipped", "_cache_exact", "_leads", "_level"), "0 or 1"
    ),
}


class Ungrouped(Exception):  # what it says
    """A family is in no group of the page.

    Attributes:
        names: Which.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"say in dashboards/metrics_page.py where these belong: {names}")
        self.names = names


def metrics_page(families: Sequence[Family]) -> str:
    """Write the page.

    Raises:
        Ungrouped: A family is in no group.
    """
    rest = {family.name: family for family in families}
    parts = [_HEAD]
    for group in _GROUPS:
        taken = [family for family in rest.values() if _stem(group, family.name) is not None]
        taken.sort(key=lambda family: (_stem(group, family.name), family.name))
        for family in taken:
            del rest[family.name]
        if taken:
            parts.append(_section(group, taken))
    if rest:
        raise Ungrouped(sorted(rest))
    return "\n".join(parts)


def _stem(group: _Group, name: str) -> int | None:
    """Give the position of the longest stem of a group that a name begins with."""
    found = [stem for stem in group.stems if name.startswith(stem)]
    return group.stems.index(max(found, key=len)) if found else None


def _section(group: _Group, families: Sequence[Family]) -> str:
    lines = [f"## {group.title}", "", group.text, ""]
    lines += ["| Metric | Type | Labels | Unit | Meaning |", "|---|---|---|---|---|"]
    lines += [_row(family) for family in families]
    return "\n".join(lines) + "\n"


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels) or "-"
    text = " ".join(family.text.split()).replace("|", "\\|")
    return f"| `{family.name}` | {family.kind} | {labels} | {unit_of(family.name)} | {text} |"


def unit_of(name: str) -> str:
    """Name the unit that a metric's name ends in; ``count`` where it is none.

    >>> unit_of("foretoken_prompt_tokens_total"), unit_of("foretoken_drift_events_total")
    ('tokens', 'count')
    """
    stem = name.removesuffix("_total")
    return next((unit for suffix, unit in _UNITS.items() if stem.endswith(suffix)), "count")
