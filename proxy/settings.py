"""The proxy's section of the configuration."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpstreamSettings(_Section):
    """Bound what connections to endpoints may cost and how long they may be silent."""

    # A machine of the same network answers in milliseconds; past this it is not there.
    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    # Longest silence before the response head: a long generation that is not streamed
    # says nothing until its end.
    head_timeout_s: float = Field(default=1800.0, gt=0, le=86_400)
    # Longest silence between two pieces of a response body.
    read_timeout_s: float = Field(default=300.0, gt=0, le=86_400)
    # Idle connections kept per endpoint; above a usual max_num_seqs of vLLM.
    max_idle_connections: int = Field(default=512, ge=0, le=100_000)
    # uvicorn, which vLLM runs on, closes idle connections after 5 s: leave well before it
    # does, because idle ones are looked for once a second.
    idle_timeout_s: float = Field(default=3.0, gt=0, le=3600)
    # Response bytes held for a reader of our own that is slow (the data path holds none:
    # it writes what it reads, and reads no more while the client does not).
    buffer_bytes: int = Field(default=262_144, ge=1024, le=1 << 30)
    # Response head bytes; more is not a vLLM server.
    max_head_bytes: int = Field(default=65_536, ge=1024, le=1 << 24)
    # Certificates that endpoints behind https:// are checked against, PEM; without one the
    # system's.
    ca_file: Path | None = None
    # False: whoever answers is believed. For trying things out alone.
    verify: bool = True


class AccessSettings(_Section):
    """Say who may use the router, and how much."""

    # TOML, one table a key; read again when it changes (docs/access.md).
    keys_file: Path | None = None
    # Environment variable with further keys, NAME=KEY separated by commas.
    keys_env: str = Field(default="FORETOKEN_API_KEYS", min_length=1, max_length=200)
    # Of each key that has no limit of its own; None for no limit. Each worker counts alone.
    requests_per_minute: int | None = Field(default=None, ge=1, le=10**9)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12)

    @property
    def environment(self) -> str | None:
        """Read the keys that the environment holds, ``None`` for none."""
        return os.environ.get(self.keys_env)


class ResponseCacheSettings(_Section):
    """Say which requests may be answered by what an equal one got."""

    # "header": those that ask for it by x-foretoken-cache: on. "deterministic": also those
    # whose answer does not change, temperature 0 and embeddings, unless they say off.
    mode: Literal["off", "header", "deterministic"] = "header"
    # All answers together. A chat's answer of a thousand tokens has 5 KB, streamed 250 KB.
    max_bytes: int = Field(default=64 * 2**20, ge=2**16, le=1 << 40)
    # One answer; larger ones pass and are not kept.
    max_entry_bytes: int = Field(default=2**20, ge=1024, le=1 << 32)
    # What a server restarted with other weights under the same name and version may cost.
    max_age_s: float = Field(default=600.0, gt=0, le=30 * 86_400)

    @model_validator(mode="after")
    def _one_fits(self) -> "ResponseCacheSettings":
        if self.max_entry_bytes > self.max_bytes:
            msg = (
                f"max_entry_bytes = {self.max_entry_bytes} must not be more than "
                f"max_bytes = {self.max_bytes}"
            )
            raise ValueError(msg)
        return self


class ContextSettings(_Section):
    """Say what becomes of bounds on output that the model's context has no room for."""

    # "pass": the endpoint decides; vLLM refuses. "clamp": what there is room for is asked
    # for instead. "refuse": here, before the request takes a place anywhere.
    excess: Literal["pass", "clamp", "refuse"] = "pass"
    # A prompt that nobody has tokenized may have so many more, or fewer, tokens: of the
    # estimate, and besides, for what a chat template adds.
    margin_ratio: float = Field(default=0.15, ge=0, le=1)
    margin_tokens: int = Field(default=64, ge=0, le=100_000)


class StallSettings(_Section):
    """Say when an endpoint has been silent for too long, whatever its health check says."""

    # So many times the predicted time to first token, or gap between tokens. A bad
    # prediction is off threefold; queues are part of the prediction.
    factor: float = Field(default=10.0, ge=1, le=10_000)
    # Never sooner: pauses of a second or two are those of compilers, collectors and networks.
    floor_s: float = Field(default=3.0, ge=0.05, le=3600)
    # Where nothing is predicted: long for a prefill, short for a client.
    unpredicted_s: float = Field(default=60.0, ge=0.05, le=86_400)
    # How often silence is looked for.
    interval_s: float = Field(default=0.5, ge=0.01, le=60)


class PickerSettings(_Section):
    """Say where Envoy reaches the endpoint picker, and what it names."""

    # Loopback by default: Envoy beside us; whoever reaches it sees every prompt.
    host: str = "127.0.0.1"
    # The port of the Gateway API Inference Extension's pickers.
    port: int = Field(default=9002, ge=0, le=65_535)
    # Endpoints named after the chosen one, for Envoy to fall back to. None by default: only
    # the override_host policy reads a list; a cluster of type ORIGINAL_DST answers 503 to it.
    fallbacks: int = Field(default=0, ge=0, le=16)
    # Requests of one connection at a time; Envoy keeps about one connection per worker thread.
    max_streams: int = Field(default=10_000, ge=1, le=1_000_000)


class TracingSettings(_Section):
    """Send a trace of each request to an OpenTelemetry collector (docs/tracing.md)."""

    enabled: bool = False
    """Make traces. Needs the extra: pip install 'foretoken[tracing]'; OTEL_SDK_DISABLED=true
    overrules it."""
    endpoint: str | None = Field(default=None, pattern=r"^https?://[^\s?#]+$", max_length=2000)
    """Base URL of a receiver of OTLP over HTTP; /v1/traces is added. Not set: what
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT says, else port 4318 here."""
    sample_ratio: float | None = Field(default=None, ge=0, le=1)
    """Share of the traces that begin here; of a caller's own trace, its traceparent decides. Not
    set: what OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG say, else all."""
    service_name: str | None = Field(default=None, min_length=1, max_length=200)
    """Who the spans are of. Not set: what OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says, else
    foretoken."""
    max_waiting_requests: int = Field(default=2048, ge=1, le=1_000_000)
    """Finished requests that wait for a slow collector; more are dropped and counted. About 40 kB
    each in a fleet of a hundred endpoints."""

    @property
    def on(self) -> bool:
        """Say whether traces are made."""
        return self.enabled and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"

    @property
    def ratio(self) -> float:
        """Give the share of traces that is sampled.

        Raises:
            ValueError: The environment names a sampler, or a ratio, that is none.
        """
        if self.sample_ratio is not None:
            return self.sample_ratio
        name = os.environ.get("OTEL_TRACES_SAMPLER") or "always_on"
        given = os.environ.get("OTEL_TRACES_SAMPLER_ARG") or "1"
        match name.removeprefix("parentbased_"):
            case "always_on":
                return 1.0
            case "always_off":
                return 0.0
            case "traceidratio":
                return _ratio(given)
        msg = f"OTEL_TRACES_SAMPLER = {name!r} is not known here; set tracing.sample_ratio"
        raise ValueError(msg)


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if 0 <= ratio <= 1:
        return ratio
    msg = f"OTEL_TRACES_SAMPLER_ARG = {text!r} must be a number from 0 to 1"
    raise ValueError(msg)


class ProxySettings(_Section):
    """Everything the data path lets people set."""

    # Loopback by default: without keys everyone who reaches the router may use the fleet.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    # PEM; with both, clients are served by TLS.
    tls_cert: Path | None = None
    tls_key: Path | None = None
    # A prompt of a million tokens is about 4 MB; images and audio need more.
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024, le=1 << 34)
    # Request line and headers together; nginx and uvicorn's h11 take 32 to 64 KB.
    max_head_bytes: int = Field(default=65_536, ge=1024, le=1 << 24)
    # The openai client sends about 20 header lines, proxies before us some more.
    max_headers: int = Field(default=200, ge=8, le=10_000)
    # Clients connected at a time, per worker; above a usual limit of open files.
    max_connections: int = Field(default=65_536, ge=1, le=1 << 24)
    # Seconds a client's idle connection is kept.
    keepalive_s: int = Field(default=75, ge=1, le=3600)
    # Seconds a request head may take from its first byte to its end.
    head_timeout_s: float = Field(default=20.0, gt=0, le=3600)
    # Longest silence between two pieces of a request body.
    body_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    # A client that reads nothing for so long while bytes wait for it is cut off.
    write_timeout_s: float = Field(default=120.0, gt=0, le=86_400)
    # Seconds that requests in flight may go on after SIGTERM.
    shutdown_s: int = Field(default=30, ge=0, le=3600)
    # Send a comment to a streaming client whenever nothing has come for so long before its
    # first token, so that nobody between us gives up; None for never, because some clients
    # take no comments, and a stream that has begun can report failure only inside itself.
    sse_keepalive_s: float | None = Field(default=None, ge=1, le=3600)
    # Ask endpoints for token counts of streams (the labels predictions learn from);
    # the extra event is hidden from clients that did not ask.
    include_usage: bool = True
    # How often waiting requests are looked at again.
    tick_s: float = Field(default=0.02, ge=0.001, le=1)
    upstream: UpstreamSettings = UpstreamSettings()
    stalls: StallSettings = StallSettings()
    context: ContextSettings = ContextSettings()
    access: AccessSettings = AccessSettings()
    response_cache: ResponseCacheSettings = ResponseCacheSettings()
    picker: PickerSettings = PickerSettings()

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key belong together")
        return self
