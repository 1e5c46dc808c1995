"""Where the files of this package lie, installed or not."""

from importlib.resources import files
from importlib.resources.abc import Traversable


def live_page() -> Traversable:
    """Give the folder of the live page's static files."""
    return files("dashboards") / "live"


def grafana() -> Traversable:
    """Give the folder of the Grafana dashboards."""
    return files("dashboards") / "grafana"


def prometheus() -> Traversable:
    """Give the folder of the Prometheus rules."""
    return files("dashboards") / "prometheus"
