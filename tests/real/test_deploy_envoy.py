"""Envoy itself accepts what the Kubernetes overlay gives it."""

import subprocess
from pathlib import Path

import pytest

from tests.real.envoy import ROOT, binary

pytestmark = pytest.mark.real
CONFIG = ROOT / "deploy" / "kubernetes" / "overlays" / "envoy" / "envoy.yaml"


def test_envoy_accepts_the_configuration_of_the_overlay() -> None:
    checked = subprocess.run(
        [binary(), "--mode", "validate", "-c", CONFIG], capture_output=True, check=False
    )

    assert checked.returncode == 0, checked.stderr.decode()
    assert b"ORIGINAL_DST" in Path(CONFIG).read_bytes()
