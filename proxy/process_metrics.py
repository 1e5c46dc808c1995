"""What is published of the process itself: its build, its memory and its processor time.

Registered by ``build``.
"""

import platform
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector


def publish_build(registry: CollectorRegistry) -> None:
    """Publish what runs here; ``process_*`` are prometheus-client's own."""
    ProcessCollector(registry=registry)
    build = Gauge(
        "foretoken_build_info",
        "1 for the version that runs, and the Python it runs on.",
        ["version", "python_version"],
        registry=registry,
    )
    build.labels(version("foretoken"), platform.python_version()).set(1)
