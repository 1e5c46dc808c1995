"""The compose file: valid, closed to other machines, and every file it mounts is there."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from foretoken.settings import Settings
from tests.deploy.compose_schema import SCHEMA

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture
def compose() -> dict[str, Any]:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(told, dict)
    return told


def test_it_is_what_compose_takes_and_listens_on_loopback_alone(compose: dict[str, Any]) -> None:
    jsonschema.validate(compose, SCHEMA)


def test_every_mounted_file_is_there_and_every_volume_declared(compose: dict[str, Any]) -> None:
    mounts = [
        mount.split(":")[0]
        for service in compose["services"].values()
        for mount in service["volumes"]
    ]
    files = [mount for mount in mounts if mount.startswith(".")]

    assert [path for path in files if not (DEPLOY / path).exists()] == []
    assert set(mounts) - set(files) == compose["volumes"].keys()


def test_services_have_no_capabilities_and_cannot_gain_any(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_foretoken_gets_the_time_it_needs_to_drain(compose: dict[str, Any]) -> None:
    given_s = int(compose["services"]["foretoken"]["stop_grace_period"].removesuffix("s"))

    assert given_s >= Settings().proxy.shutdown_s + 10


def test_prometheus_and_grafana_find_each_other(compose: dict[str, Any]) -> None:
    source = yaml.safe_load((DEPLOY / "grafana-datasource.yml").read_text())["datasources"][0]
    scraped = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"][0]
    host, _, port = source["url"].removeprefix("http://").partition(":")
    (target,) = scraped["static_configs"][0]["targets"]

    assert compose["services"][host]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert target.split(":")[0] in compose["services"]
