"""What ``deploy/kubernetes`` comes to: all objects of an overlay, as kubectl renders them."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
OVERLAYS = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())

Manifest = dict[str, Any]


def can_render() -> bool:
    return shutil.which("kubectl") is not None


@cache
def rendered(overlay: str) -> tuple[Manifest, ...]:
    """Render an overlay with ``kubectl kustomize``."""
    done = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, kind: str) -> list[Manifest]:
    return [each for each in rendered(overlay) if each["kind"] == kind]


def pods(overlay: str) -> Iterator[tuple[str, Manifest]]:
    """Give the pod specifications of an overlay, by the names of their owners."""
    for each in of_kind(overlay, "Deployment"):
        yield each["metadata"]["name"], each["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]
