"""The proxy's section of the configuration."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpstreamSettings(_Section):
    """Bound what connections to endpoints may cost and how long they may be silent."""

    connect_timeout_s: float = Field(default=2.0, gt=0, le=60)
    """For a connection to an endpoint. A machine of the same network answers in milliseconds; past
    this it is not there."""
    head_timeout_s: float = Field(default=1800.0, gt=0, le=86_400)
    """Longest silence before the response head: a long generation that is not streamed says nothing
    until its end."""
    read_timeout_s: float = Field(default=300.0, gt=0, le=86_400)
    """Longest silence between two pieces of a response body."""
    max_idle_connections: int = Field(default=512, ge=0, le=100_000)
    """Idle connections kept per endpoint; above a usual max_num_seqs of vLLM."""
    idle_timeout_s: float = Field(default=3.0, gt=0, le=3600)
    """Idle connections are closed after this. uvicorn, which vLLM runs on, closes them after 5 s:
    leave well before it does, because idle ones are looked for once a second."""
    buffer_bytes: int = Field(default=262_144, ge=1024, le=1 << 30)
    """Response bytes held for a reader of our own that is slow (the data path holds none: it writes
    what it reads, and reads no more while the client does not)."""
    max_head_bytes: int = Field(default=65_536, ge=1024, le=1 << 24)
    """Longest response head; more is not a vLLM server."""
    ca_file: Path | None = None
    """Certificates that endpoints behind https:// are checked against, PEM; without one the
    system's."""
    verify: bool = True
    """Check the certificates of endpoints. False: whoever answers is believed; for trying things
    out alone."""


class AccessSettings(_Section):
    """Say who may use the router, and how much."""

    keys_file: Path | None = None
    """File of API keys: TOML, one table a key; read again when it changes (docs/access.md). Not
    set: only those of the environment."""
    keys_env: str = Field(default="FORETOKEN_API_KEYS", min_length=1, max_length=200)
    """Environment variable with further keys, NAME=KEY separated by commas."""
    requests_per_minute: int | None = Field(default=None, ge=1, le=10**9)
    """Limit of each key that has none of its own; not set: no limit. Each worker counts alone."""
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12)
    """The same for tokens, prompt and output together."""

    @property
    def environment(self) -> str | None:
        """Read the keys that the environment holds, ``None`` for none."""
        return os.environ.get(self.keys_env)


class ResponseCacheSettings(_Section):
    """Say which requests may be answered by what an equal one got."""

    mode: Literal["off", "header", "deterministic"] = "header"
    """Which requests. "header": those that ask for it by x-foretoken-cache: on. "deterministic":
    also those whose answer does not change, temperature 0 and embeddings, unless they say off."""
    max_bytes: int = Field(default=64 * 2**20, ge=2**16, le=1 << 40)
    """Of all answers together. A chat's answer of a thousand tokens has 5 KB, streamed 250 KB."""
    max_entry_bytes: int = Field(default=2**20, ge=1024, le=1 << 32)
    """Of one answer; larger ones pass and are not kept."""
    max_age_s: float = Field(default=600.0, gt=0, le=30 * 86_400)
    """How long an answer is kept: what a server restarted with other weights under the same name
    and version may cost."""

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

    excess: Literal["pass", "clamp", "refuse"] = "pass"
    """"pass": the endpoint decides; vLLM refuses. "clamp": what there is room for is asked for
    instead. "refuse": here, before the request takes a place anywhere."""
    margin_ratio: float = Field(default=0.15, ge=0, le=1)
    """A prompt that nobody has tokenized may have so many more, or fewer, tokens, as a share of the
    estimate."""
    margin_tokens: int = Field(default=64, ge=0, le=100_000)
    """And so many besides, for what a chat template adds."""


class StallSettings(_Section):
    """Say when an endpoint has been silent for too long, whatever its health check says."""

    factor: float = Field(default=10.0, ge=1, le=10_000)
    """Too long is so many times the predicted time to first token, or gap between tokens. A bad
    prediction is off threefold; queues are part of the prediction."""
    floor_s: float = Field(default=3.0, ge=0.05, le=3600)
    """Never sooner than this: pauses of a second or two are those of compilers, collectors and
    networks."""
    unpredicted_s: float = Field(default=60.0, ge=0.05, le=86_400)
    """Too long where nothing is predicted: long for a prefill, short for a client."""
    interval_s: float = Field(default=0.5, ge=0.01, le=60)
    """How often silence is looked for."""


class PickerSettings(_Section):
    """Say where Envoy reaches the endpoint picker, and what it names."""

    host: str = "127.0.0.1"
    """Address for Envoy. Loopback by default: Envoy beside us; whoever reaches it sees every
    prompt."""
    port: int = Field(default=9002, ge=0, le=65_535)
    """Port for Envoy; the default is that of the Gateway API Inference Extension's pickers."""
    fallbacks: int = Field(default=0, ge=0, le=16)
    """Endpoints named after the chosen one, for Envoy to fall back to. None by default: only the
    override_host policy reads a list; a cluster of type ORIGINAL_DST answers 503 to it."""
    max_streams: int = Field(default=10_000, ge=1, le=1_000_000)
    """Requests of one connection at a time; Envoy keeps about one connection per worker thread."""


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

    host: str = "127.0.0.1"
    """Address to listen on. Loopback by default: without keys everyone who reaches the router may
    use the fleet."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """Port to listen on; 0 for any that is free."""
    tls_cert: Path | None = None
    """Certificate chain, PEM; with it and its key clients are served by TLS."""
    tls_key: Path | None = None
    """Its private key, PEM."""
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024, le=1 << 34)
    """Longest request body. A prompt of a million tokens is about 4 MB; images and audio need
    more."""
    max_head_bytes: int = Field(default=65_536, ge=1024, le=1 << 24)
    """Request line and headers together, at most; nginx and uvicorn's h11 take 32 to 64 KB."""
    max_headers: int = Field(default=200, ge=8, le=10_000)
    """Most header lines of a request. The openai client sends about 20, proxies before us some
    more."""
    max_connections: int = Field(default=65_536, ge=1, le=1 << 24)
    """Clients connected at a time, per worker; above a usual limit of open files."""
    keepalive_s: int = Field(default=75, ge=1, le=3600)
    """How long a client's idle connection is kept."""
    head_timeout_s: float = Field(default=20.0, gt=0, le=3600)
    """How long a request head may take from its first byte to its end."""
    body_timeout_s: float = Field(default=60.0, gt=0, le=3600)
    """Longest silence between two pieces of a request body."""
    write_timeout_s: float = Field(default=120.0, gt=0, le=86_400)
    """A client that reads nothing for so long while bytes wait for it is cut off."""
    shutdown_s: int = Field(default=30, ge=0, le=3600)
    """How long requests in flight may go on after SIGTERM."""
    sse_keepalive_s: float | None = Field(default=None, ge=1, le=3600)
    """Send a comment to a streaming client whenever nothing has come for so long before its first
    token, so that nobody between us gives up. Not set: never, because some clients take no
    comments, and a stream that has begun can report failure only inside itself."""
    include_usage: bool = True
    """Ask endpoints for token counts of streams (the labels predictions learn from); the extra
    event is hidden from clients that did not ask."""
    tick_s: float = Field(default=0.02, ge=0.001, le=1)
    """How often waiting requests are looked at again."""
    sched_batch: bool = True
    """On Linux, where no core is free, wait until what runs there sleeps or has used up its time
    slice of some milliseconds (SCHED_BATCH), and relay what has come by then. Tokens then cost less
    CPU; false relays each at once (docs/decisions/data-path.md)."""
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
