"""Write dashboards, rules and the page of metrics: ``python -m dashboards.build``.

The files are committed, so that people can import them without Python; a test compares
them with what this writes. Needs the extra ``dashboards``.
"""

from pathlib import Path

from dashboards.alerts import rules_yaml
from dashboards.boards import as_json
from dashboards.catalogue import families
from dashboards.fleet_overview import fleet_overview
from dashboards.metrics_page import metrics_page
from dashboards.model_training import model_training
from dashboards.predicted_actual import predicted_actual
from dashboards.recording import recording_yaml
from dashboards.slo_tiers import slo_tiers


def built_files() -> dict[str, str]:
    """Give the text of every written file by its path below this package."""
    return {
        "grafana/fleet-overview.json": as_json(fleet_overview()),
        "grafana/predicted-actual.json": as_json(predicted_actual()),
        "grafana/slo-tiers.json": as_json(slo_tiers()),
        "grafana/model-training.json": as_json(model_training()),
        "prometheus/alerts.yml": rules_yaml(),
        "prometheus/recording.yml": recording_yaml(),
        "../docs/metrics.md": metrics_page(families()),
    }


def main() -> None:
    """Write all files into the source tree."""
    here = Path(__file__).parent
    for path, text in built_files().items():
        target = here / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
