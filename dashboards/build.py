"""Write dashboards, rules and the page of metrics: ``python -m dashboards.build``.

The files are committed, so that people can import them without Python; a test compares
them with what this writes.
"""

import json
from pathlib import Path

from dashboards.alerts import rules_yaml
from dashboards.catalogue import families
from dashboards.metrics_page import metrics_page
from dashboards.overview import dashboard
from dashboards.recording import recording_yaml


def built_files() -> dict[str, str]:
    """Give the text of every written file by its path below this package."""
    return {
        "grafana/foretoken.json": json.dumps(dashboard(), indent=2) + "\n",
        "prometheus/alerts.yml": rules_yaml(),
        "prometheus/recording.yml": recording_yaml(),
        "../docs/metrics.md": metrics_page(families()),
    }


def main() -> None:
    """Write all files into the source tree."""
    here = Path(__file__).parent
    for path, text in built_files().items():
        (here / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
