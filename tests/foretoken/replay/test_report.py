"""What a person and a program get to see: the error first, then the answer."""

import json
from pathlib import Path

from typer.testing import CliRunner

from foretoken.cli import app

runner = CliRunner()


def test_the_error_comes_first_and_json_has_standard_output_for_itself(trace: Path) -> None:
    asked = ["--endpoints", "class-a=2", "--traffic", "2.5", "--seeds", "1", "--jobs", "1"]

    result = runner.invoke(app, ["replay", str(trace), "-p", "round_robin", *asked, "--json", "-"])

    assert result.exception is None, result.output
    document = json.loads(result.stdout)
    assert document["trust"]["verdict"] in {"good", "fair", "poor"}
    assert document["trace"]["prefixes_from"] == "block hashes"
    assert document["work_ratio"] > 1.1
    [other] = document["alternatives"]
    assert (other["policy"], other["fleet"]) == ("round_robin", "3 endpoints")
    assert result.stderr.startswith("How far to trust this: ")
    assert result.stderr.index("same places") < result.stderr.index("What would have been")
    assert "extrapolated" in result.stderr
    assert "3 endpoints at 2.5 times the traffic, against lmetric as recorded" in result.stderr
