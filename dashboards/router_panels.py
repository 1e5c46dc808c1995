"""Folded sections of the overview: how caches are known, and the router's own health.

Nobody looks at these while all is well, so they are closed and ask nothing of Prometheus
until somebody opens them. Called by :mod:`dashboards.fleet_overview`.
"""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import Section
from dashboards.panels import Query, heats, levels, lines, rows
from dashboards.promql import ENDPOINT, by, grown, of, per_second


def router_sections() -> list[Section]:
    """Make the sections."""
    return [
        Section("How well are KV caches known?", [_known(), _blocks()], folded=True),
        Section("Answers given again", [_answers()], folded=True),
        Section("Who else is there", [_routers(), _sources()], folded=True),
        Section("The router itself", [_decisions(), _process(), _losses()], folded=True),
    ]


def _routers() -> list[Panel]:
    return [
        levels(
            "Hears of other routers",
            Query(
                by("instance", of("foretoken_routers_connected"), over="min"),
                "{{instance}}",
            ),
            names={0: ("alone", "orange"), 1: ("connected", "green")},
            text="Where [routers] is set. alone: it serves by what it knows itself.",
        ),
        lines(
            "Other routers heard",
            Query(by("instance", of("foretoken_routers_known"), over="min"), "{{instance}}"),
            unit="short",
            text="One less than there are, when all is well.",
        ),
    ]


def _sources() -> list[Panel]:
    return [
        lines(
            "Endpoints found",
            Query(by("source", of("foretoken_discovery_endpoints"), over="max"), "{{source}}"),
            unit="short",
            text="By each [[discovery]] table, as last told.",
        ),
        lines(
            "Sources last heard",
            Query(
                by("source", of("foretoken_discovery_age_seconds"), over="max"), "{{source}} ago"
            ),
            unit="s",
            text="While it grows the fleet stays as it was last told.",
        ),
        lines(
            "Sources not heard",
            Query(
                grown("foretoken_discovery_failures_total", labels="source, reason"),
                "{{source}}: {{reason}}",
            ),
            unit="short",
            text="discovery_failed in the log says what is wrong.",
        ),
    ]


def _known() -> list[Panel]:
    def count(metric: str, labels: str) -> str:
        return per_second(metric, ENDPOINT, labels=labels)

    return [
        levels(
            "Cache known exactly",
            Query(
                by("endpoint", of("foretoken_endpoint_cache_exact", ENDPOINT), over="min"),
                "{{endpoint}}",
            ),
            names={0: ("estimated", "orange"), 1: ("exact", "green")},
            text="Of endpoints with KV events. estimated: events were missed, or none came yet.",
        ),
        lines(
            "KV events",
            Query(count("foretoken_kv_event_batches_total", "endpoint"), "{{endpoint}}"),
            unit="cps",
            text="Batches taken in.",
        ),
        lines(
            "KV events missed for good",
            Query(
                grown("foretoken_kv_event_losses_total", ENDPOINT, labels="reason"),
                "{{reason}}",
            ),
            unit="short",
            text="Then what the endpoint holds is estimated until it starts anew.",
        ),
    ]


def _blocks() -> list[Panel]:
    return [
        lines(
            "Blocks announced",
            Query(by("", of("foretoken_announced_blocks")), "blocks"),
            unit="short",
            text="Distinct KV blocks that endpoints have announced and hold.",
        ),
        lines(
            "Room for blocks",
            Query(by("", of("foretoken_announced_blocks_ratio"), over="max"), "in use"),
            unit="percentunit",
            top=1.0,
            limits=((0.95, "orange"),),
            text="Past 100 % the oldest are forgotten: raise scheduler.announced_blocks.",
        ),
        lines(
            "Prompts tokenized",
            Query(per_second("foretoken_tokenized_prompts_total", labels="origin"), "{{origin}}"),
            unit="reqps",
            stacked=True,
            text="Exact matches need token ids: counted here, by an endpoint, or not at all.",
        ),
    ]


def _answers() -> list[Panel]:
    removed = per_second("foretoken_response_cache_removed_answers_total", labels="reason")
    return [
        lines(
            "Kept",
            Query(by("", of("foretoken_response_cache_stored_bytes")), "stored"),
            unit="bytes",
            text="Memory that kept answers take.",
        ),
        lines(
            "Answers kept",
            Query(by("", of("foretoken_response_cache_stored_answers")), "answers"),
            unit="short",
            text="Complete answers that an equal request would get.",
        ),
        lines(
            "Given from the cache",
            Query(per_second("foretoken_response_cache_served_bytes_total"), "served"),
            unit="Bps",
            text="Bytes of bodies that no endpoint had to produce.",
        ),
        lines(
            "Removed",
            Query(removed, "{{reason}}"),
            unit="cps",
            text="room: to make room for others. age: too old when asked for.",
        ),
    ]


def _decisions() -> list[Panel]:
    return [
        heats(
            "Time to decide",
            per_second("foretoken_decision_seconds_bucket", labels="le"),
            unit="s",
            text="Features, prediction of every candidate and policy, per request. Past 20 ms "
            "the fallback takes over.",
        ),
        heats(
            "Time to scrape an endpoint",
            per_second("foretoken_scrape_seconds_bucket", labels="le"),
            unit="s",
            text="Its metrics page. Slow ones mean an overloaded API server in that vLLM.",
        ),
        lines(
            "Scrapes failed",
            Query(
                per_second("foretoken_scrape_failures_total", ENDPOINT, labels="reason"),
                "{{reason}}",
            ),
            unit="cps",
            text="Pages that could not be read, and why.",
        ),
    ]


def _process() -> list[Panel]:
    return [
        lines(
            "Processor",
            Query(
                f"sum by (instance) (rate({of('process_cpu_seconds_total')}[$__rate_interval]))",
                "{{instance}}",
            ),
            unit="percentunit",
            text="Of one core; of all workers together. A worker near 100 % is the bottleneck: "
            "serve with more.",
        ),
        lines(
            "Memory",
            Query(by("instance", of("process_resident_memory_bytes")), "{{instance}}"),
            unit="bytes",
            text="Resident. A worker keeps a prefix index, a predictor and its trees.",
        ),
        lines(
            "Connections of clients, by worker",
            Query(by("worker", of("foretoken_worker_connections")), "worker {{worker}}"),
            unit="short",
            stacked=True,
            text="They should be even. One worker alone does not count its own.",
        ),
        rows(
            "Workers",
            Query(by("worker", of("foretoken_worker_up"), over="min")),
            Query(by("worker", of("foretoken_worker_leads"), over="max")),
            Query(by("worker", of("foretoken_worker_restarts_total"))),
            columns={
                "worker": "Worker",
                "Value #A": "In this page",
                "Value #B": "Leads",
                "Value #C": "Restarts",
            },
            text="Who scrapes and trains for all (leads), and who died and was started again.",
        ),
    ]


def _losses() -> list[Panel]:
    def lost(title: str, metric: str, text: str) -> Panel:
        return lines(title, Query(grown(metric), "lost"), unit="short", text=text)

    return [
        lost(
            "Log lines dropped",
            "foretoken_log_dropped_lines_total",
            "Nobody took them, or they could not be written. Serving never waits for the log.",
        ),
        lost(
            "Trace records dropped",
            "foretoken_trace_dropped_total",
            "The recorder could not write as fast as requests ended: is the disk full or slow?",
        ),
        lines(
            "Background tasks failed",
            Query(grown("foretoken_background_failures_total", labels="task"), "{{task}}"),
            unit="short",
            text="They start again; the log has the traceback.",
        ),
        rows(
            "Builds",
            Query(of("foretoken_build_info")),
            columns={
                "instance": "Router",
                "version": "Foretoken",
                "python_version": "Python",
            },
            text="What runs where.",
        ),
    ]
