"""The example for KEDA fits together, and Kubernetes knows what it is made of."""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.main import get_command

from foretoken.cli import app
from foretoken.scaler.server import MODEL_KEY

KEDA = Path(__file__).parents[2] / "deploy" / "keda"
SCALER = list(yaml.safe_load_all((KEDA / "scaler.yaml").read_text()))


@pytest.mark.parametrize("one", SCALER, ids=lambda one: one["kind"])
def test_kubernetes_knows_what_the_scaler_is_made_of(one: dict[str, Any]) -> None:
    kubernetes_validate.validate(one, "1.33", strict=True)


def test_the_scaled_object_asks_the_scaler_that_is_deployed() -> None:
    scaled = yaml.safe_load((KEDA / "scaledobject.yaml").read_text())
    of = {one["kind"]: one for one in SCALER}

    (trigger,) = scaled["spec"]["triggers"]
    (container,) = of["Deployment"]["spec"]["template"]["spec"]["containers"]
    (port,) = of["Service"]["spec"]["ports"]

    name = of["Service"]["metadata"]["name"]
    assert trigger["metadata"]["scalerAddress"] == f"{name}:{port['port']}"
    assert container["ports"][0]["containerPort"] == port["port"] == 9006
    assert set(trigger["metadata"]) == {"scalerAddress", MODEL_KEY}


def test_the_scaler_is_started_with_options_it_has() -> None:
    of = {one["kind"]: one for one in SCALER}
    (container,) = of["Deployment"]["spec"]["template"]["spec"]["containers"]
    command, *given = container["args"]

    known = {
        option
        for parameter in get_command(app).commands[command].params  # type: ignore[attr-defined]  # a group
        for option in parameter.opts
    }

    assert {one for one in given if one.startswith("--")} <= known


def test_the_scaler_runs_without_rights() -> None:
    of = {one["kind"]: one for one in SCALER}
    pod = of["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["securityContext"]["runAsNonRoot"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert of["NetworkPolicy"]["spec"]["policyTypes"] == ["Ingress"]
