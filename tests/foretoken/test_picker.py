"""``foretoken picker`` as people run it: a real process, simulated endpoints, gRPC's client."""

import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as ext_proc
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as ext_proc_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from foretoken.errors import ConfigurationInvalid
from foretoken.picker import build_picker
from foretoken.processes import free_ports
from foretoken.settings import load_settings
from tests.foretoken.running import Running, asking

ROOT = Path(__file__).parents[2]
MODEL = "llama-3.1-8b"
BODY = b'{"model": "%b", "messages": [{"role": "user", "content": "hi"}]}' % MODEL.encode()


def _questions() -> list[object]:
    headers = ext_proc.ProcessingRequest()
    for name, value in ((":method", "POST"), (":path", "/v1/chat/completions")):
        headers.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    headers.protocol_config.request_body_mode = 2  # buffered
    body = ext_proc.ProcessingRequest(request_body={"body": BODY, "end_of_stream": True})
    response = ext_proc.ProcessingRequest()
    response.response_headers.headers.headers.add(key=":status", raw_value=b"200")
    return [headers, body, response]


def test_it_picks_counts_keeps_its_port_and_ends_when_told(tmp_path: Path) -> None:
    one, two, port, grpc_port = free_ports(4)
    with Running(tmp_path) as running:
        running.start_endpoint("one", one)
        running.start_endpoint("two", two)
        flags = ("--endpoint", f"http://127.0.0.1:{one}", "--endpoint", f"http://127.0.0.1:{two}")
        running.start(
            *("picker", "picker", *flags),
            *("--port", str(port), "--grpc-port", str(grpc_port)),
            *("--fallbacks", "1", "--data-dir", str(tmp_path / "data")),
        )
        running.until("picker", f"http://127.0.0.1:{port}/ready", '"down":[]')
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            health = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="readiness")
            )
            stub = ext_proc_grpc.ExternalProcessorStub(channel)
            answers = list(stub.Process(iter(_questions())))
        running.until_logged("picker", "request_finished")
        with asking(f"http://127.0.0.1:{port}") as client:
            metrics = client.get("/metrics").text
            elsewhere = client.post("/v1/chat/completions", content=BODY)
            decisions = client.get("/foretoken/decisions").json()
        (free,) = free_ports(1)
        running.start(
            "second", "picker", *flags, "--port", str(free), "--grpc-port", str(grpc_port)
        )
        refused = running.wait("second")
        status = running.terminate("picker")

    assert health.status == health_pb2.HealthCheckResponse.SERVING
    (option, *_) = answers[1].request_body.response.header_mutation.set_headers
    assert option.header.key == "x-gateway-destination-endpoint"
    named = option.header.raw_value.decode().split(",")
    assert sorted(named) == sorted([f"127.0.0.1:{one}", f"127.0.0.1:{two}"])
    assert 'foretoken_requests_total{model_name="llama-3.1-8b",outcome="completed"' in metrics
    assert elsewhere.status_code == 404
    assert decisions
    assert refused == 1
    assert f"cannot listen on 127.0.0.1:{grpc_port}" in running.log("second")
    assert "--grpc-port" in running.log("second")
    assert status == 0
    assert list((tmp_path / "data" / "traces").glob("*.parquet"))


@pytest.mark.parametrize("host", ["localhost", "vllm-0.vllm", "[0:0::1]"])
def test_an_endpoint_that_envoy_calls_otherwise_is_refused_by_its_path(host: str) -> None:
    settings = load_settings(
        None, endpoints=[{"url": "http://10.0.0.1:8000"}, {"url": f"http://{host}:8000"}]
    )

    with socket.socket() as listener, pytest.raises(ConfigurationInvalid) as caught:
        build_picker(settings, None, None, listener)

    (problem,) = caught.value.problems
    assert problem.startswith(f"endpoints.1.url = 'http://{host}:8000': give the IP address")


def test_without_its_extra_it_says_what_to_install_and_the_rest_works() -> None:
    program = (
        "import sys\n"
        "for name in ('google.protobuf', 'grpc', 'hpack', 'envoy', 'xds'):\n"
        "    sys.modules[name] = None\n"  # importing them fails
        "import foretoken.build\n"
        "from foretoken import cli\n"
        "sys.argv = ['foretoken', 'picker', '--endpoint', 'http://127.0.0.1:1']\n"
        "cli.main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False
    )

    assert done.returncode == 2, done.stderr
    assert "pip install 'foretoken[picker]'" in done.stderr


def test_the_example_configuration_is_valid_and_agrees_with_envoys() -> None:
    settings = load_settings(ROOT / "deploy" / "envoy" / "foretoken.toml")
    envoy = (ROOT / "deploy" / "envoy" / "envoy.yaml").read_text()

    assert settings.proxy.picker.fallbacks == 2
    assert f"port_value: {settings.proxy.picker.port}}}" in envoy
    for endpoint in settings.endpoints:
        host, port = endpoint.name.split(":")
        assert f"{{address: {host}, port_value: {port}}}" in envoy
