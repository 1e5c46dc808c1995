"""The proxy's section of the configuration."""

from pydantic import BaseModel, ConfigDict, Field


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
    # Response bytes held for a client that reads slowly before the endpoint is held back.
    buffer_bytes: int = Field(default=262_144, ge=1024, le=1 << 30)
    # Response head bytes; more is not a vLLM server.
    max_head_bytes: int = Field(default=65_536, ge=1024, le=1 << 24)


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


class ProxySettings(_Section):
    """Everything the data path lets people set."""

    # Loopback by default: there is no authentication in front of the fleet.
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65_535)
    # A prompt of a million tokens is about 4 MB; images and audio need more.
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024, le=1 << 34)
    # Seconds a client's idle connection is kept.
    keepalive_s: int = Field(default=75, ge=1, le=3600)
    # Seconds that requests in flight may go on after SIGTERM.
    shutdown_s: int = Field(default=30, ge=0, le=3600)
    # Ask endpoints for token counts of streams (the labels predictions learn from);
    # the extra event is hidden from clients that did not ask.
    include_usage: bool = True
    # How often waiting requests are looked at again.
    tick_s: float = Field(default=0.02, ge=0.001, le=1)
    upstream: UpstreamSettings = UpstreamSettings()
    picker: PickerSettings = PickerSettings()
