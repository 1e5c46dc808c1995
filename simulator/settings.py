"""Settings of a simulated endpoint: its engine, and the HTTP face around it."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from simulator.content import LONGEST_PROMPT_TOKENS
from simulator.errors import UnknownProfile
from simulator.kv_events import Encoding
from simulator.profiles import profile


def _known(name: str) -> str:
    try:
        profile(name)
    except UnknownProfile as error:
        raise ValueError(str(error)) from error  # pydantic reports the setting's path with it
    return name


class EngineSettings(BaseModel):
    """Size and pace of one engine; ``None`` means what the profile says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_num_seqs: int = Field(default=256, ge=1)
    """Most requests in a batch."""
    max_num_batched_tokens: int | None = Field(default=None, ge=1)
    """Token budget of a step; vLLM's default differs by GPU."""
    kv_tokens: int | None = Field(default=None, ge=1)
    """Tokens the KV cache holds; smaller than the profile's forces eviction in a short run."""
    block_size: int = Field(default=16, ge=1, le=1024)
    """Tokens per KV block; vLLM's default on CUDA."""
    cpu_tier_tokens: int | None = Field(default=None, ge=1)
    """Tokens of KV kept in CPU memory behind the GPU's; ``None`` is none, as vLLM ships."""
    cpu_load_s_per_token: float = Field(default=1e-5, ge=0.0, le=1.0)
    """Time to bring one back: 256 KiB of Qwen3-32B at 25 GB/s, what PCIe 4 x16 gives."""
    max_model_len: int = Field(default=131_072, ge=1, le=LONGEST_PROMPT_TOKENS)
    """Most tokens of one request, prompt and output; what Llama 3.1 was trained for. A KV
    cache that holds less lowers the limit."""
    speed: float = Field(default=1.0, ge=0.001, le=1000.0)
    """Step times, overhead included, are divided by it: 0.5 makes the endpoint half as fast."""
    step_overhead_s: float = Field(default=0.0, ge=0.0, le=1.0)
    """Constant added to each step: host work that the measured kernels leave out. H100
    logs show -0.05 to 0.5 ms."""
    step_noise_sigma: float = Field(default=0.04, ge=0.0, le=1.0)
    """Sigma of the log-normal step noise; real vLLM shows 0.03 to 0.05."""
    stall_share: float = Field(default=0.003, ge=0.0, le=1.0)
    """Fraction of steps that stall; real vLLM shows 0 to 0.3 % above twice the usual."""
    stall_factor: float = Field(default=2.0, ge=1.0, le=1e6)
    """How much longer such a step takes."""
    async_scheduling: bool = True
    """Put a step together while the one before it runs, as vLLM does unless told otherwise:
    a request that comes during a step joins the step after next."""
    request_overhead_s: float = Field(default=0.006, ge=0.0, le=10.0)
    """Constant before a request can be scheduled: the engine side of the TTFT constant
    that real vLLM shows over the step times (7B model on H100)."""


class EndpointSettings(EngineSettings):
    """One simulated endpoint behind vLLM's HTTP face."""

    profile: Annotated[str, AfterValidator(_known)] = "h100_sxm/llama-3.1-8b"
    """Step-time profile, ``gpu/model[-tpN][-dtype]``."""
    model: str | None = Field(default=None, min_length=1)
    """Name it serves; ``None`` is the profile's model."""
    host: str = "127.0.0.1"
    """Loopback: a simulated endpoint has no business on a network by itself."""
    port: int = Field(default=8000, ge=0, le=65535)
    seed: int = 0
    """Of the step noise and of drawn output lengths."""
    output_tokens_median: float = Field(default=150.0, ge=1.0)
    """Median of the log-normal output length of requests that bring none."""
    output_tokens_sigma: float = Field(default=0.7, ge=0.0, le=3.0)
    """Its sigma: 0.7 gives a mean of 1.28 medians and a 90th percentile of 2.5."""
    kv_events: str | None = Field(default=None, min_length=1)
    """ZMQ address to publish KV events on, as ``endpoint`` of vLLM's ``--kv-events-config``."""
    kv_events_replay: str | None = Field(default=None, min_length=1)
    """ZMQ address to answer requests for missed ones on."""
    kv_events_topic: str = Field(default="", max_length=500)
    """Topic of each message."""
    kv_events_encoding: Encoding = "maps"
    """How events are written: ``maps`` as vLLM 0.32 does, ``arrays`` as before."""
