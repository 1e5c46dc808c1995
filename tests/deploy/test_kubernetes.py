"""What ``kubectl apply -k`` would send is valid, consistent in itself, and asks for little."""

import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from foretoken.settings import Settings, load_settings
from tests.deploy.crd_schemas import SCHEMAS
from tests.deploy.manifests import (
    KUBERNETES,
    OVERLAYS,
    Manifest,
    can_render,
    containers,
    of_kind,
    pods,
    rendered,
)

needs_kubectl = pytest.mark.skipif(not can_render(), reason="kubectl is not installed")
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
OURS = "foretoken"
TOML = sorted(KUBERNETES.rglob("*.toml"))


def test_there_is_an_overlay_for_each_way_to_deploy() -> None:
    assert OVERLAYS == ["envoy", "gateway", "router", "sidecar"]


@pytest.mark.parametrize("path", sorted(KUBERNETES.rglob("*.yaml")), ids=lambda path: path.name)
def test_every_file_is_yaml_and_named_by_a_kustomization(path: Path) -> None:
    parts = list(yaml.safe_load_all(path.read_text()))
    kustomization = (path.parent / "kustomization.yaml").read_text()

    assert all(isinstance(part, dict) for part in parts)
    assert path.name == "kustomization.yaml" or path.name in kustomization


@needs_kubectl
@each_overlay
@pytest.mark.parametrize("version", ["1.30", "1.32", "1.37"])
def test_every_object_is_one_that_kubernetes_takes(overlay: str, version: str) -> None:
    for manifest in rendered(overlay):
        schema = SCHEMAS.get((manifest["apiVersion"], manifest["kind"]))
        if schema is None:
            kubernetes_validate.validate(manifest, version, strict=True)
        else:
            jsonschema.validate(manifest, schema)


def test_the_schemas_of_our_own_refuse_what_is_wrong() -> None:
    pool = yaml.safe_load((KUBERNETES / "base" / "pool" / "pool.yaml").read_text())
    schema = SCHEMAS[pool["apiVersion"], pool["kind"]]
    pool["spec"]["targetPorts"] = [{"number": 0}]

    with pytest.raises(jsonschema.ValidationError, match="less than the minimum"):
        jsonschema.validate(pool, schema)


def test_the_optional_monitors_are_what_the_operator_takes() -> None:
    for monitor in monitors():
        jsonschema.validate(monitor, SCHEMAS[monitor["apiVersion"], monitor["kind"]])


@needs_kubectl
@each_overlay
def test_the_optional_monitors_scrape_every_router_and_nothing_else(overlay: str) -> None:
    scraped = [
        (container["name"], port["containerPort"])
        for monitor in monitors()
        for each in of_kind(overlay, "Deployment")
        if monitor["spec"]["selector"]["matchLabels"].items() <= _labels(each).items()
        for container in containers(each["spec"]["template"]["spec"])
        for port in container["ports"]
        for wanted in monitor["spec"]["podMetricsEndpoints"]
        if port["name"] == wanted["port"]
    ]

    assert scraped == [(OURS, 8080 if overlay == "sidecar" else 8000)]


@needs_kubectl
@each_overlay
def test_containers_of_ours_run_with_nothing_they_do_not_need(overlay: str) -> None:
    for name, pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            context = pod["securityContext"] | container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            if container["name"] == "vllm":  # its image runs as root, and writes caches
                continue
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0


@needs_kubectl
@each_overlay
def test_only_foretoken_holds_a_token_and_it_may_only_read(overlay: str) -> None:
    holders = {
        container["name"]
        for _, pod in pods(overlay)
        for container in containers(pod)
        for mount in container.get("volumeMounts", [])
        if mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    }
    verbs = {
        verb
        for role in of_kind(overlay, "Role")
        for rule in role["rules"]
        for verb in rule["verbs"]
    }
    everything = [role for role in rendered(overlay) if role["kind"].startswith("Cluster")]

    assert holders == {OURS}
    assert verbs == {"list", "watch"}
    assert everything == []


@needs_kubectl
@each_overlay
def test_it_may_read_what_its_settings_name_and_no_more(overlay: str) -> None:
    (source,) = load(KUBERNETES / "overlays" / overlay / "foretoken.toml")["discovery"]
    rules = [rule for role in of_kind(overlay, "Role") for rule in role["rules"]]
    by_kind = {kind: rule.get("resourceNames") for rule in rules for kind in rule["resources"]}

    if "pool" in source:
        assert by_kind == {"pods": None, "inferencepools": [source["pool"]]}
    else:
        named = [source["service"]]
        assert by_kind == {"pods": None, "services": named, "endpointslices": None}


@needs_kubectl
@each_overlay
def test_a_pod_is_given_the_time_it_takes_to_drain(overlay: str) -> None:
    shutdown_s = load(KUBERNETES / "overlays" / overlay / "foretoken.toml")["proxy"]["shutdown_s"]
    for name, pod in pods(overlay):
        ours = [each for each in containers(pod) if each["name"] == OURS]
        for container in ours:
            waits_s = max(_pre_stop_s(each) for each in pod["containers"])

            assert pod["terminationGracePeriodSeconds"] >= waits_s + shutdown_s + 10, name
            if "restartPolicy" not in container:
                assert _pre_stop_s(container) > 0


@needs_kubectl
@each_overlay
def test_every_container_says_what_it_needs_and_how_it_is(overlay: str) -> None:
    for name, pod in pods(overlay):
        for container in containers(pod):
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"]
            assert "livenessProbe" in container
            # A limit of CPU throttles a router in the middle of a request.
            assert "cpu" not in container["resources"]["limits"]


@needs_kubectl
@each_overlay
def test_what_is_referred_to_is_there(overlay: str) -> None:
    named = {(each["kind"], each["metadata"]["name"]) for each in rendered(overlay)}
    for _, pod in pods(overlay):
        labels = _labels_of_pods(overlay)
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        for container in containers(pod):
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            assert mounted <= volumes.keys()
            ports = {port["name"] for port in container["ports"]}
            probes = (container.get(f"{kind}Probe", {}) for kind in ("liveness", "readiness"))
            asked = {probe["httpGet"]["port"] for probe in probes if "httpGet" in probe}
            assert asked <= ports
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in named
            if "persistentVolumeClaim" in volume:
                claim = volume["persistentVolumeClaim"]["claimName"]
                assert ("PersistentVolumeClaim", claim) in named
        for service in of_kind(overlay, "Service"):
            assert any(service["spec"]["selector"].items() <= each.items() for each in labels)


@needs_kubectl
@each_overlay
def test_services_lead_to_ports_that_their_pods_have(overlay: str) -> None:
    for service in of_kind(overlay, "Service"):
        selector = service["spec"]["selector"].items()
        behind = [
            port["name"]
            for each in of_kind(overlay, "Deployment")
            if selector <= each["spec"]["template"]["metadata"]["labels"].items()
            for container in containers(each["spec"]["template"]["spec"])
            for port in container["ports"]
        ]

        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(behind)
        assert len(behind) == len(set(behind))


@needs_kubectl
def test_the_picker_in_envoys_pod_outlives_envoy() -> None:
    ((_, pod),) = pods("envoy")
    by_name = {container["name"]: _pre_stop_s(container) for container in containers(pod)}

    assert by_name[OURS] > by_name["envoy"]


@needs_kubectl
@pytest.mark.parametrize("overlay", ["envoy", "gateway"])
def test_the_pool_names_a_service_of_the_picker(overlay: str) -> None:
    (pool,) = of_kind(overlay, "InferencePool")
    services = {each["metadata"]["name"] for each in of_kind(overlay, "Service")}

    assert pool["spec"]["endpointPickerRef"]["name"] in services


@needs_kubectl
@pytest.mark.parametrize("overlay", ["router", "sidecar"])
def test_routers_that_share_reach_the_store_they_share_by(overlay: str) -> None:
    settings = load(KUBERNETES / "overlays" / overlay / "foretoken.toml")
    services = {each["metadata"]["name"] for each in of_kind(overlay, "Service")}

    host = re.fullmatch(r"redis://([\w-]+):6379", settings["routers"]["url"])

    assert host is not None
    assert host[1] in services


@needs_kubectl
def test_the_autoscaler_alone_says_how_many_routers_there_are() -> None:
    (router,) = (
        each for each in of_kind("router", "Deployment") if each["metadata"]["name"] == OURS
    )
    (scaler,) = of_kind("router", "HorizontalPodAutoscaler")
    (budget,) = of_kind("router", "PodDisruptionBudget")

    assert "replicas" not in router["spec"]
    assert scaler["spec"]["minReplicas"] >= 2
    assert budget["spec"]["selector"] == router["spec"]["selector"]


@pytest.mark.parametrize("path", TOML, ids=lambda path: path.parent.name)
def test_the_settings_of_every_overlay_are_valid(path: Path) -> None:
    missing = load(path).keys() - Settings.model_fields.keys()
    if missing:
        pytest.skip(f"no settings of this name yet: {', '.join(sorted(missing))}")

    settings = load_settings(path)

    assert settings.endpoints == ()


def monitors() -> list[Manifest]:
    path = KUBERNETES / "components" / "monitoring" / "podmonitor.yaml"
    return list(yaml.safe_load_all(path.read_text()))


def load(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def _pre_stop_s(container: Manifest) -> int:
    hook = container.get("lifecycle", {}).get("preStop", {})
    if "sleep" in hook:
        return int(hook["sleep"]["seconds"])
    return int(hook["exec"]["command"][1]) if "exec" in hook else 0


def _labels_of_pods(overlay: str) -> list[dict[str, str]]:
    return [_labels(each) for each in of_kind(overlay, "Deployment")]


def _labels(deployment: Manifest) -> dict[str, str]:
    labels: dict[str, str] = deployment["spec"]["template"]["metadata"]["labels"]
    return labels
