"""Which endpoints there are, how often they are read, and what is recorded."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_PORTS = {"http": 80, "https": 443}


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

    @property
    def name(self) -> str:
        """Name the endpoint ``host:port``, as it stands in logs and metrics."""
        url = urlsplit(self.url)
        return url.netloc if url.port is not None else f"{url.netloc}:{_PORTS[url.scheme]}"


class ScrapeSettings(BaseModel):
    """Configure how endpoints are read."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    interval_s: float = Field(default=0.2, ge=0.01, le=60.0)
    """Gauges are as fresh as the last engine step, and queues turn over in tenths of a second."""

    down_interval_s: float = Field(default=1.0, ge=0.05, le=60.0)
    """A server takes tens of seconds to start; a second more is not felt."""

    timeout_s: float = Field(default=2.0, ge=0.05, le=60.0)
    """For one answer; a busy API server was seen to take tens of milliseconds."""

    fail_after: int = Field(default=3, ge=1, le=100)
    """Failures in a row until down: one lost answer must not empty a healthy endpoint."""

    models_interval_s: float = Field(default=30.0, ge=1.0, le=3600.0)
    """Adapters come and go at run time, by hand."""

    max_page_bytes: int = Field(default=8 << 20, ge=1024)
    """A page of a large deployment has 60 KB; far beyond it is not a metrics page."""


class TraceSettings(BaseModel):
    """Configure the trace recorder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    buffer_rows: int = Field(default=4096, ge=1, le=1_000_000)
    """Finished requests waiting to be written; more are dropped and counted. At 100
    candidates a row holds about 20 KB until then."""

    flush_interval_s: float = Field(default=1.0, ge=0.01, le=60.0)
    """Rows are written in groups this far apart; 1 s x 500 requests/s is a fair row group."""

    file_rows: int = Field(default=50_000, ge=1)
    """Rows until a file is finished."""

    file_bytes: int = Field(default=64 << 20, ge=1 << 10)
    """Bytes until a file is finished; it is read back as a whole."""

    file_age_s: float = Field(default=300.0, ge=0.1)
    """Seconds until a file is finished: what a crash costs, since a file cannot be read
    before its end is written."""

    max_bytes: int = Field(default=4 << 30, ge=1 << 10)
    """Finished files kept; the oldest go first."""
