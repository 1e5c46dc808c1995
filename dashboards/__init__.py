"""What people look at: the live page, Grafana dashboards, Prometheus rules."""

from dashboards.paths import grafana, live_page, prometheus

__all__ = ["grafana", "live_page", "prometheus"]
