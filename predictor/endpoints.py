"""What is known of an endpoint: from outside, and of what this router has in flight there.

Part of the vocabulary of :mod:`predictor.types`, which everyone imports it from. Immutable,
in seconds, tokens and fractions; unknown is ``None``, never 0.
"""

from dataclasses import dataclass
from typing import Literal

SpillReason = Literal[
    "objective", "predicted_ttft", "endpoints_full", "promises", "lower_down", "asked_for"
]
"""Why a request went to endpoints that stand by.

``objective``: no endpoint of the class below was likely to meet its objective.
``predicted_ttft``: it has none, and its predicted TTFT there was above the bound.
``endpoints_full``: none there could start it. ``promises``: it would have broken what others
there were promised. ``lower_down``: none there takes requests. ``asked_for``: it may go to
no other endpoint.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointState:
    """Snapshot what is known of one endpoint from outside: scrapes, health, discovery.

    Attributes:
        endpoint: Stable name, ``host:port``.
        url: Base URL without a trailing slash, ``http://host:port``.
        model: Base model it serves; ``None`` until it has told.
        adapters: Further names it answers to (LoRA adapters, aliases).
        aliases: Those of them that mean the base model itself.
        hardware: Hardware label from configuration or discovery.
        up: Whether its last health check or scrape succeeded.
        draining: Whether it must get no further requests.
        running_requests: The endpoint's own count of requests in its batch.
        waiting_requests: The endpoint's own count of requests not yet started.
        kv_cache_usage: Fraction of KV blocks in use, 0 to 1.
        kv_capacity_tokens: Tokens its KV cache holds.
        block_size: Tokens per KV block.
        max_batched_tokens: Token budget of one step, as configured.
        max_seqs: Most requests in its batch, as configured.
        cpu_kv_tokens: Tokens its CPU memory holds behind the GPU's; ``None`` for no such tier.
        shared_kv_tokens: Likewise of storage that it shares with its fleet.
        role: ``prefill`` and ``encode`` alone get no requests of clients; ``None`` for both phases.
        priority_class: Requests go to the lowest class that meets their objectives, from 0.
        preemptions_total: Counter of preempted requests.
        prefix_hits_total: Counter of prompt tokens found in the prefix cache.
        prefix_queries_total: Counter of prompt tokens looked up there.
        preemptions_per_s: Recent rate of preemptions, by its counter.
        prefix_hit_ratio: Recent share of looked-up prompt tokens found, by its counters.
        active_adapters: LoRA adapters of its running and waiting requests.
        max_adapters: LoRA adapters its memory holds at once; ``None`` where it tells of none.
        scraped_s: When the numbers were read, ``None`` before the first scrape.
        moved_s: When its counters were last seen to move: the engine got on.
        still_since_s: Since when they stand still though it has requests in its batch,
            ``None`` where they move or it has none.
        max_model_len: Tokens that prompt and output may have together.
        root: What it loaded the base model from; other weights have another.
        version: Of the server software.
    """

    endpoint: str
    url: str
    model: str | None = None
    adapters: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    hardware: str | None = None
    up: bool = False
    draining: bool = False
    running_requests: float | None = None
    waiting_requests: float | None = None
    kv_cache_usage: float | None = None
    kv_capacity_tokens: int | None = None
    block_size: int | None = None
    max_batched_tokens: int | None = None
    max_seqs: int | None = None
    cpu_kv_tokens: int | None = None
    shared_kv_tokens: int | None = None
    role: str | None = None
    priority_class: int = 0
    preemptions_total: float | None = None
    prefix_hits_total: float | None = None
    prefix_queries_total: float | None = None
    preemptions_per_s: float | None = None
    prefix_hit_ratio: float | None = None
    active_adapters: tuple[str, ...] = ()
    max_adapters: int | None = None
    scraped_s: float | None = None
    moved_s: float | None = None
    still_since_s: float | None = None
    max_model_len: int | None = None
    root: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointLoad:
    """Snapshot what this router itself has in flight at one endpoint.

    Counts are NaN where whoever describes an endpoint does not know them.

    Attributes:
        inflight_requests: Sent by this router, not yet ended.
        queued_requests: Of these, without a first token yet.
        queued_prefill_tokens: Uncached prompt tokens of the queued ones.
        decoding_requests: In flight with a first token.
        context_tokens: Prompt plus half the expected output tokens of the decoding ones.
        remaining_output_tokens: Mean the decoding ones are still to generate, if known.
        oldest_queued_s: Seconds the oldest queued one has been there, 0 when none is.
        prefill_tokens_per_s: Decayed rate of uncached prompt tokens sent there.
        dispatches_per_s: Decayed rate of requests sent there.
        recent_ttft_s: Decayed mean of TTFT observed there, ``None`` before the first.
        recent_tpot_s: Decayed mean of TPOT observed there, ``None`` before the first.
        last_dispatch: Sequence number of the last dispatch to it, 0 before the first.
    """

    inflight_requests: float = 0
    queued_requests: float = 0
    queued_prefill_tokens: float = 0.0
    decoding_requests: float = 0
    context_tokens: float = 0.0
    remaining_output_tokens: float | None = None
    oldest_queued_s: float = 0.0
    prefill_tokens_per_s: float = 0.0
    dispatches_per_s: float = 0.0
    recent_ttft_s: float | None = None
    recent_tpot_s: float | None = None
    last_dispatch: int = 0


IDLE = EndpointLoad()
