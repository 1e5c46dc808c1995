import re
from pathlib import Path

from dashboards.alerts import ALERTS, rules_yaml

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"


def test_every_alert_has_a_section_of_its_own_in_the_runbook() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), flags=re.MULTILINE)

    assert sections == [alert.name for alert in ALERTS]


def test_an_alert_links_to_its_section() -> None:
    urls = {alert.name: alert.runbook_url for alert in ALERTS}

    assert urls["ForetokenEndpointDown"].endswith("docs/runbook.md#foretokenendpointdown")


def test_the_rule_file_holds_every_alert_once() -> None:
    text = rules_yaml()

    assert re.findall(r'- alert: "(\w+)"', text) == [alert.name for alert in ALERTS]
    assert text.count("runbook_url:") == text.count("expr:") == len(ALERTS)
