"""Panels of a fleet's size: what comes, what it can take, what it needs, what stands by.

Called by :mod:`dashboards.fleet_overview`.
"""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import Section
from dashboards.panels import Query, lines
from dashboards.promql import MODEL, by, of, per_second


def scaling_section() -> Section:
    """Make the section."""
    return Section("Is the fleet large enough?", [_demand(), _standby()])


def _of_model(metric: str, *labels: str, over: str = "max") -> str:
    return by("model_name", of(metric, MODEL, *labels), over=over)


def _until(bound: str) -> str:
    return _of_model("foretoken_fleet_time_to_saturation_seconds", f'bound="{bound}"')


def _demand() -> list[Panel]:
    capacity = "foretoken_fleet_objective_capacity_requests_per_second"
    up = of("foretoken_fleet_endpoints", MODEL, 'state="up"')
    return [
        lines(
            "Demand and capacity at the objective",
            Query(_of_model("foretoken_fleet_demand_requests_per_second"), "{{model_name}} comes"),
            Query(
                _of_model("foretoken_fleet_forecast_requests_per_second"),
                "{{model_name}} predicted",
            ),
            Query(_of_model(capacity), "{{model_name}} can be taken"),
            unit="reqps",
            text="What can be taken within the objective the fleet is sized for, by prediction. "
            "Predicted: when an endpoint asked for now would serve.",
        ),
        lines(
            "Endpoints needed",
            Query(_of_model("foretoken_fleet_needed_endpoints"), "{{model_name}} needs"),
            Query(f"max by (model_name) ({up})", "{{model_name}} has"),
            unit="short",
            text="For the forecast and for what waits; what KEDA is told by `foretoken scaler`. "
            "Those that stand by are not counted as needed.",
        ),
        lines(
            "Time to saturation",
            Query(
                f"clamp_max({_until('expected')}, 86400)",
                "{{model_name}}",
            ),
            Query(
                f"clamp_max({_until('earliest')}, 86400)",
                "{{model_name}} at the earliest",
            ),
            unit="s",
            text="Until demand reaches that capacity, should its trend go on. A day stands "
            "for whatever is later, and for never.",
        ),
    ]


def _standby() -> list[Panel]:
    labels = ("model_name", "priority_class")
    return [
        lines(
            "Sent to standby",
            Query(
                per_second("foretoken_standby_requests_total", MODEL, labels="reason"),
                "{{reason}}",
            ),
            unit="reqps",
            stacked=True,
            text="Requests that endpoints of a higher priority class took, by why the class "
            "below did not. lower_down: it is down or draining.",
        ),
        lines(
            "Standby open",
            Query(
                by(", ".join(labels), of("foretoken_fleet_standby_open", MODEL), over="max"),
                "{{model_name}} class {{priority_class}}",
            ),
            unit="none",
            top=1.0,
            text="1 while requests needed it within scheduler.standby.dwell_s. Open for long: "
            "the first class is too small.",
        ),
    ]
