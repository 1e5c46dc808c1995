"""What a running process says of itself at ``/metrics``."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


def sample(url: str, name: str, **labels: str) -> float:
    """Sum the samples of one metric that carry the given labels."""
    page = httpx.get(f"{url}/metrics").text
    return sum(
        line.value
        for family in text_string_to_metric_families(page)
        for line in family.samples
        if line.name == name and labels.items() <= line.labels.items()
    )
