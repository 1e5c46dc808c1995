"""``foretoken predictor`` as people run it: a process, loopback, llm-d's bodies."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from foretoken.cli import run
from foretoken.processes import free_ports
from tests.foretoken.running import Running, asking

CONFIG = "[trainer]\ninterval_s = 0.5\n"


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Make up rows with the fields a router sends."""
    rng = random.Random(seed)
    return [
        {
            "kv_cache_percentage": rng.random(),
            "input_token_length": rng.randint(10, 8000),
            "num_request_waiting": rng.choice((0, 0, 3)),
            "num_request_running": rng.randint(0, 40),
            "num_tokens_generated": 1,
            "prefix_cache_score": 0.0,
            "encoder_input_size": 0,
            "encoder_matched_size": 0,
            "prefill_tokens_in_flight": rng.randint(0, 4000),
            "decode_tokens_in_flight": 0,
        }
        for _ in range(count)
    ]


def measured(count: int) -> list[dict[str, Any]]:
    """Rows with a law of their own: 0.2 ms a token, 4 ms + 0.5 ms a running request."""
    return [
        {
            **row,
            "num_tokens_generated": 0,
            "actual_ttft_ms": 30 + 0.2 * row["input_token_length"] if number % 2 else 0,
            "actual_tpot_ms": 0 if number % 2 else 4 + 0.5 * row["num_request_running"],
            "timestamp": "2026-03-13T10:00:00.123456789Z",
        }
        for number, row in enumerate(rows(count, seed=1))
    ]


def test_a_router_finds_a_sidecar_that_learns_and_comes_back_warm(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    config = tmp_path / "predictor.toml"
    config.write_text(CONFIG)
    url = f"http://127.0.0.1:{port}"
    arguments = ("predictor", "--config", str(config), "--port", str(port),
                 "--models-dir", str(tmp_path / "models"))  # fmt: skip
    asked = {"requests": rows(250)}
    with Running(tmp_path) as running, asking(url) as client:
        running.start("cold", *arguments)
        ready = running.until("cold", f"{url}/readyz", "ready").json()
        cold = client.post("/predict/bulk/strict", json=asked)
        told = client.post("/add_training_data_bulk", json={"entries": measured(600)})
        trained = running.until("cold", f"{url}/readyz", '"layer":"mixture"').json()
        warm = client.post("/predict/bulk/strict", json=asked).json()["predictions"]
        metrics = client.get("/metrics").text
        status = running.terminate("cold")
        running.start("warm", *arguments)
        again = running.until("warm", f"{url}/readyz", "ready").json()
        remembered = client.post("/predict/bulk/strict", json=asked).json()["predictions"]
        log = running.log("cold")

    assert (ready["layer"], ready["objective_type"]) == ("cold", "mean")
    assert (cold.status_code, len(cold.json()["predictions"])) == (200, 250)
    assert (told.status_code, told.json()["refused"]) == (202, {})
    assert again["version"] is not None
    assert trained["version"] is not None
    assert all(each["last_model_load"] for each in warm)
    assert 'foretoken_model_info{layer="mixture",model_name="llm-d"' in metrics
    assert status == 0
    assert "Traceback" not in log
    for predictions in (warm, remembered):
        ratio = [
            each["ttft_ms"] / (30 + 0.2 * row["input_token_length"])
            for each, row in zip(predictions, asked["requests"], strict=True)
        ]
        assert 0.7 < sorted(ratio)[125] < 1.4


class Predictor(NamedTuple):
    running: Running
    url: str


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Predictor]:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    with Running(tmp_path_factory.mktemp("predictor")) as running:
        running.start("predictor", "predictor", "--port", str(port), "--objective", "quantile")
        running.until("predictor", f"{url}/readyz", '"objective_type":"quantile"')
        yield Predictor(running, url)


def test_our_own_api_predicts_what_it_was_taught(predictor: Predictor) -> None:
    running, url = predictor
    endpoints = {"fast:1": 1e-5, "slow:1": 1e-4}

    def sight(name: str, tokens: int) -> dict[str, Any]:
        return {
            "endpoint": name,
            "request": {"prompt_tokens": tokens},
            "upstream_ttft_s": 0.02 + endpoints[name] * tokens,
            "tpot_s": 0.01,
        }

    seen = [sight(name, tokens) for tokens in range(100, 8000, 100) for name in endpoints]
    with asking(url) as client:
        told = client.post("/v1/observe", json={"model": "m", "observations": seen}).json()
        running.until("predictor", f"{url}/v1/models", f'"labels":{{"ttft":{len(seen)}')
        body = {
            "model": "m",
            "request": {"prompt_tokens": 4000},
            "objective": {"ttft_s": 0.2},
            "endpoints": [{"endpoint": name} for name in endpoints],
        }
        fast, slow = client.post("/v1/predict", json=body).json()["endpoints"]

    assert told == {"accepted": len(seen), "refused": {}}
    assert fast["ttft"]["expected_s"] < 0.12 < slow["ttft"]["expected_s"]
    assert fast["meets_objective"] > slow["meets_objective"]


def test_serve_carries_the_same_api_beside_its_own(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    base = f"http://127.0.0.1:{port}/foretoken/predictor"
    with Running(tmp_path) as running, asking(base) as client:
        running.start("serve", "serve", "--endpoint", "http://127.0.0.1:9", "--port", str(port))
        running.until("serve", f"http://127.0.0.1:{port}/health")
        asked = client.post("/predict/bulk/strict", json={"requests": rows(120)})
        told = client.post("/add_training_data_bulk", json={"entries": measured(20)})
        running.until("serve", f"{base}/data/status", '"ttft_samples":10')
        page = client.post(
            "/add_training_data_bulk",
            json={"entries": measured(2)},
            headers={"origin": "http://elsewhere"},
        )
        models = client.get(f"http://127.0.0.1:{port}/foretoken/models").json()
        status = running.terminate("serve")

    assert len(asked.json()["predictions"]) == 120
    assert (told.status_code, page.status_code) == (202, 403)
    assert [model["model"] for model in models] == ["llm-d"]
    assert status == 0


def test_a_bad_setting_stops_the_start_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "predictor.toml"
    config.write_text("[control.predictor]\nmax_rows = 0\n")

    status = run(["predictor", "--config", str(config)])
    said = capsys.readouterr().err

    assert status == 2
    assert "control.predictor.max_rows = 0" in said
    assert said.count("\n") == 1


def test_the_requests_of_a_recorded_row_are_all_it_needs(predictor: Predictor) -> None:
    # The fields of a recorded trace of theirs: no encoder sizes, no timestamp, no pod type.
    recorded = json.loads(
        '{"kv_cache_percentage": 0.0135, "input_token_length": 9008, "num_request_waiting": 1,'
        ' "num_request_running": 2, "num_tokens_generated": 0, "actual_ttft_ms": 1804,'
        ' "actual_tpot_ms": 0, "prefix_cache_score": 0.99, "prefill_tokens_in_flight": 10304,'
        ' "decode_tokens_in_flight": 0}'
    )
    with asking(predictor.url) as client:
        told = client.post("/add_training_data_bulk", json={"entries": [recorded]})
        asked = client.post("/predict/bulk/strict", json={"requests": [recorded]})

    assert (told.status_code, told.json()["refused"]) == (202, {})
    assert asked.json()["predictions"][0]["ttft_ms"] > 0
