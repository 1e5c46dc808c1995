"""Tracing as it is configured: by the file, by the environment, and without what it needs."""

import asyncio
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import ValidationError

from foretoken.errors import ConfigurationInvalid
from foretoken.settings import Settings
from foretoken.tracing import Tracing, open_tracing
from predictor.types import TraceContext
from predictor.values import replace
from proxy import TracingSettings
from tests.proxy.control.fakes import record
from tests.proxy.tracing.receiver import Received, receiving

ON = TracingSettings(enabled=True)


def send_one(tracing: Tracing) -> None:
    told = record()
    context = TraceContext(trace_id="ab" * 16, span_id=7, path="/v1/completions")

    async def scenario() -> None:
        async with tracing.exporting:
            for sink in tracing.sinks:
                sink(replace(told, request=replace(told.request, trace=context)))

    asyncio.run(scenario())


def service_name(received: Received) -> object:
    return received.resources[0]["service.name"]


def test_off_by_default_it_adds_nothing_but_zeros() -> None:
    registry = CollectorRegistry()

    tracing = open_tracing(Settings().tracing, registry)

    assert (tracing.tracer, list(tracing.sinks)) == (None, [])
    assert b'foretoken_traced_requests_total{outcome="exported"} 0.0' in generate_latest(registry)


def test_the_file_says_where_to_and_by_which_name() -> None:
    with receiving() as received:
        settings = TracingSettings(enabled=True, endpoint=received.url, service_name="edge")
        send_one(open_tracing(settings, CollectorRegistry()))

    assert received.paths == ["/v1/traces"]
    assert service_name(received) == "edge"


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "foretoken"),
        ({"OTEL_SERVICE_NAME": "gateway"}, "gateway"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=of-all,team=a"}, "of-all"),
    ],
)
def test_else_the_environment_does(
    environment: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as received:
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        send_one(open_tracing(ON, CollectorRegistry()))

    assert received.paths == ["/v1/traces"]
    assert service_name(received) == name


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        (None, None, 1.0),
        ("always_off", None, 0.0),
        ("parentbased_always_on", "0.5", 1.0),
        ("parentbased_traceidratio", "0.25", 0.25),
        ("traceidratio", None, 1.0),
    ],
)
def test_the_environments_sampler_counts_where_the_file_says_nothing(
    sampler: str | None, argument: str | None, ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OTEL_TRACES_SAMPLER", sampler), ("OTEL_TRACES_SAMPLER_ARG", argument)):
        if value is not None:
            monkeypatch.setenv(name, value)

    assert ON.ratio == ratio
    assert TracingSettings(sample_ratio=0.125).ratio == 0.125


@pytest.mark.parametrize(
    ("sampler", "argument"), [("jaeger_remote", "1"), ("traceidratio", "2"), ("traceidratio", "x")]
)
def test_a_sampler_that_is_none_stops_the_start(
    sampler: str, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)

    with pytest.raises(ConfigurationInvalid, match="OTEL_TRACES_SAMPLER"):
        open_tracing(ON, CollectorRegistry())


def test_the_environment_can_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")

    assert open_tracing(ON, CollectorRegistry()).tracer is None


@pytest.mark.parametrize(
    "values",
    [{"endpoint": "collector:4317"}, {"endpoint": "http://x/a b"}, {"sample_ratio": 1.5}, {"x": 1}],
)
def test_bad_values_stop_the_start(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TracingSettings.model_validate(values)


def test_without_the_extra_it_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from prometheus_client import CollectorRegistry\n"
        "from foretoken.tracing import open_tracing\n"
        "from proxy import TracingSettings\n"
        "open_tracing(TracingSettings(), CollectorRegistry())\n"
        "open_tracing(TracingSettings(enabled=True), CollectorRegistry())\n"
    )

    ran = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )

    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].endswith(
        "tracing.enabled: tracing needs more: pip install 'foretoken[tracing]'"
    )
