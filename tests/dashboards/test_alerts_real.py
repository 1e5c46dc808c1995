"""The alert rules, judged by Prometheus' own tool."""

import subprocess

import pytest

from dashboards import prometheus

pytestmark = pytest.mark.real


def test_prometheus_accepts_every_rule() -> None:
    rules = prometheus() / "alerts.yml"

    checked = subprocess.run(
        ["promtool", "check", "rules", str(rules)], capture_output=True, text=True, check=False
    )

    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout
