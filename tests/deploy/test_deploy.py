"""The examples people copy are valid, and the image builds from what is in the tree."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from foretoken.settings import load_settings

ROOT = Path(__file__).parents[2]


def test_the_example_configuration_is_valid() -> None:
    settings = load_settings(ROOT / "deploy" / "foretoken.toml")

    assert len(settings.endpoints) == 2
    assert settings.scheduler.tiers["interactive"].objective.ttft_s == 0.5


def test_every_path_the_compose_file_and_the_image_name_exists() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    dockerfile = (ROOT / "Dockerfile").read_text()

    mounted = re.findall(r"- (\.\.?/\S+?):/", compose)
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)

    assert mounted
    assert copied
    assert [path for path in mounted if not (ROOT / "deploy" / path).exists()] == []
    for sources in copied:
        assert [path for path in sources.split() if not (ROOT / path).exists()] == []


def test_grafana_is_given_all_dashboards_and_prometheus_all_rules() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    provided = (ROOT / "deploy" / "grafana-dashboards.yml").read_text()
    scraping = (ROOT / "deploy" / "prometheus.yml").read_text()

    folders = dict(re.findall(r"- (\.\./dashboards/\w+):(\S+):ro", compose))

    assert f"path: {folders['../dashboards/grafana']}" in provided
    assert f"- {folders['../dashboards/prometheus']}/*.yml" in scraping


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize("name", ["prometheus.yml", "prometheus-local.yml"])
def test_prometheus_accepts_its_configuration(name: str) -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", ROOT / "deploy" / name],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr
