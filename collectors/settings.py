"""Which endpoints there are, how often they are read, and what is recorded."""

import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

_PORTS = {"http": 80, "https": 443}
_TRANSPORTS = ("tcp://", "ipc://")


def _base_url(text: str) -> str:
    """Check and tidy a base URL, ``http://host:port``.

    >>> _base_url("http://10.0.0.1:8000/")
    'http://10.0.0.1:8000'
    """
    url = urlsplit(text.strip())
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"{text!r} is not a base URL such as http://10.0.0.1:8000")
    if url.path.strip("/") or url.query or url.fragment:
        raise ValueError(f"{text!r} must end after the port, without a path such as /v1")
    if url.username or url.password:
        raise ValueError("an endpoint URL must not hold credentials")
    try:
        port = url.port
    except ValueError as error:
        raise ValueError(f"{text!r} has no valid port: {error}") from error
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    return f"{url.scheme}://{host}" if port is None else f"{url.scheme}://{host}:{port}"


def _address(text: str) -> str:
    """Check a ZMQ address.

    >>> _address("tcp://10.0.0.1:5557")
    'tcp://10.0.0.1:5557'
    """
    if not text.startswith(_TRANSPORTS) or text in _TRANSPORTS:
        raise ValueError(f"{text!r} is not an address such as tcp://10.0.0.1:5557 or ipc:///path")
    if text.startswith("tcp://") and not text.rpartition(":")[2].isdigit():
        raise ValueError(f"{text!r} has no port")
    return text


class KvEventSource(BaseModel):
    """Say where one endpoint publishes; vLLM: ``--kv-events-config``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, AfterValidator(_address)]
    """Its ``endpoint``: connected to, as vLLM binds ``tcp://*:PORT`` and ``ipc://PATH``."""

    bind: bool = False
    """Bind the address instead: vLLM connects to a ``tcp://HOST:PORT`` it is given."""

    replay: Annotated[str, AfterValidator(_address)] | None = None
    """Its ``replay_endpoint``. Without one, what is missed stays missed, and an endpoint
    that was there before us is known exactly only once its cache has turned over."""

    topic: str = Field(default="", max_length=500)
    """Only messages whose topic begins so."""


class EndpointSettings(BaseModel):
    """Configure one vLLM server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: Annotated[str, AfterValidator(_base_url)]
    """Base URL, ``http://host:port``."""

    hardware: str | None = Field(default=None, max_length=100)
    """Hardware label, for predictions before the first observation."""

    model: str | None = Field(default=None, min_length=1, max_length=500)
    """Base model it serves; asked from ``/v1/models`` when not given."""

    max_batched_tokens: int | None = Field(default=None, ge=1, le=100_000_000)
    """Its ``--max-num-batched-tokens``, which no page tells: predictions learn from it."""

    max_seqs: int | None = Field(default=None, ge=1, le=1_000_000)
    """Its ``--max-num-seqs``, likewise."""

    cpu_kv_tokens: int | None = Field(default=None, ge=1, le=100_000_000)
    """Tokens of KV it keeps in CPU memory behind the GPU's; not set: none."""

    shared_kv_tokens: int | None = Field(default=None, ge=1, le=10**12)
    """Tokens of KV on storage that all endpoints of this model with such a setting share."""

    role: Literal["both", "prefill", "decode", "encode"] | None = None
    """Its part where prefill and decode run apart: those for prefill or encoding alone are watched
    and get no requests of clients."""

    priority_class: int = Field(default=0, ge=0, le=9)
    """Which endpoints are asked first: 0; higher ones stand by for when the objectives of those
    below cannot be met."""

    kv_events: KvEventSource | None = None
    """Where it publishes what its KV cache holds; not set: its cache is estimated."""

    api_key_env: str | None = Field(default=None, min_length=1, max_length=200)
    """Environment variable that holds its ``--api-key``; not set: it wants none, or the
    clients' own."""

    @model_validator(mode="after")
    def _key_is_there(self) -> Self:
        if self.api_key_env is not None and not self.api_key:
            msg = f"the environment variable {self.api_key_env} is not set"
            raise ValueError(msg)
        return self

    @property
    def api_key(self) -> str | None:
        """Read its key, ``None`` where it wants none."""
        return None if self.api_key_env is None else os.environ.get(self.api_key_env)

    @property
    def name(self) -> str:
        """Name the endpoint ``host:port``, as it stands in logs and metrics."""
        url = urlsplit(self.url)
        return url.netloc if url.port is not None else f"{url.netloc}:{_PORTS[url.scheme]}"


class ScrapeSettings(BaseModel):
    """Configure how endpoints are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: float = Field(default=0.2, ge=0.01, le=60.0)
    """Between two reads of an endpoint's metrics: gauges are as fresh as the last engine step, and
    queues turn over in tenths of a second."""

    down_interval_s: float = Field(default=1.0, ge=0.05, le=60.0)
    """The same while it is down: a server takes tens of seconds to start; a second more is not
    felt."""

    timeout_s: float = Field(default=2.0, ge=0.05, le=60.0)
    """For one answer; a busy API server was seen to take tens of milliseconds."""

    fail_after: int = Field(default=3, ge=1, le=100)
    """Failures in a row until down: one lost answer must not empty a healthy endpoint."""

    models_interval_s: float = Field(default=30.0, ge=1.0, le=3600.0)
    """Between two reads of its list of models: adapters come and go at run time, by hand."""

    max_page_bytes: int = Field(default=8 << 20, ge=1024)
    """Longest answer with its head. A page of a large deployment has 60 KB; far beyond it is not a
    metrics page."""


class KvEventSettings(BaseModel):
    """Configure how KV events are followed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check_interval_s: float = Field(default=2.0, ge=0.05, le=600.0)
    """After so long without an event the publisher is asked whether any was missed; ZMQ
    itself says nothing when the other side is gone."""

    replay_timeout_s: float = Field(default=5.0, ge=0.05, le=600.0)
    """For the next message of a replay; vLLM looks for requests ten times a second when it
    is idle, and once per step when it is not."""

    max_event_bytes: int = Field(default=16 << 20, ge=1024, le=1 << 30)
    """Longer messages are refused: a million-token prompt takes 6 MB."""

    queue_events: int = Field(default=20_000, ge=1, le=10_000_000)
    """Messages that may wait here per endpoint; more are dropped, and then asked for again."""


class TokenSettings(BaseModel):
    """Configure how prompts become tokens, where endpoints' caches are known exactly."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, Path] = Field(default_factory=dict)
    """``tokenizer.json`` by model, for prompts that are text; chats need a template as well,
    which the endpoints have. Without a file endpoints are asked for both."""

    timeout_s: float = Field(default=0.25, ge=0.001, le=10.0)
    """For one prompt; past it the estimate decides. vLLM tokenizes 100k tokens in 0.1 s."""

    cache_tokens: int = Field(default=16_000_000, ge=0, le=10**10)
    """Tokens of recent prompts kept, 4 bytes each: one sent again is not asked for again.
    Every prompt counts 50 more, for what keeping it takes besides."""

    max_prompt_bytes: int = Field(default=8 << 20, ge=1024, le=1 << 30)
    """Longer bodies are not tokenized: their estimate is as good as the rest of it."""


class TraceSettings(BaseModel):
    """Configure the trace recorder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buffer_rows: int = Field(default=4096, ge=1, le=1_000_000)
    """Finished requests waiting to become columns, and as many as columns waiting to be written;
    more are dropped and counted. At 100 candidates a row holds about 20 KB until then."""

    flush_interval_s: float = Field(default=10.0, ge=0.01, le=60.0)
    """Rows are written in groups this far apart, or earlier when the columns of a whole buffer
    wait; a group costs some milliseconds besides its rows."""

    file_rows: int = Field(default=50_000, ge=1)
    """Rows until a file is finished."""

    file_bytes: int = Field(default=64 << 20, ge=1 << 10)
    """Bytes until a file is finished; it is read back as a whole."""

    file_age_s: float = Field(default=300.0, ge=0.1)
    """Seconds until a file is finished: what a crash costs, since a file cannot be read
    before its end is written."""

    max_bytes: int = Field(default=4 << 30, ge=1 << 10)
    """Finished files kept; the oldest go first."""
