"""The storm in its two-minute form: every fault once, and not one request lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]


def test_nothing_is_lost(tmp_path: Path) -> None:
    figures = tmp_path / "storm.json"
    command = [sys.executable, "-m", "benchmarks.storm", "--quick", "--json", str(figures)]

    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert figures.exists(), done.stderr
    found = json.loads(figures.read_text())
    short = [one for one in found["verdicts"] if one["kind"] == "must" and one["passes"] is False]
    assert short == [], done.stdout
    assert found["lost"] == []
    assert done.returncode == 0
