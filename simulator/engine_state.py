"""What an engine is in the midst of, as far as its future depends on it.

Made by :meth:`simulator.engine.Engine.snapshot` and read by :mod:`simulator.projection`.
"""

from dataclasses import dataclass

from simulator.allocation import Allocation
from simulator.request_queue import RequestQueue
from simulator.sequence import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineState:
    """Show one engine at a moment; requests and caches are the engine's own, not copies.

    So it is cheap, holds true only until the engine goes on, and none of it may be changed.

    Attributes:
        now_s: The moment.
        step_s: When the step under way began and ends, ``None`` when none is.
        ahead: Whether a step is put together while the one before it runs.
        frozen_until_s: Before this no step begins; 0 unless the endpoint hangs.
        speed: What step times are divided by.
        budget_tokens: Most tokens of a step.
        most_running: Most requests in the batch.
        kv_blocks: Blocks there are on the GPU.
        block_size: Tokens per block.
        submitted: Requests submitted since the start.
        decoded_steps: Steps done, as :class:`simulator.decoding.DecodeBatch` counts them.
        context_tokens: Tokens the decoding ones hold in the step under way, or the coming one.
        decoding: Requests that decode, their counts as of joining.
        prefilling: Requests whose prompt is computed, in the engine's order, each with the
            tokens of it in the step under way.
        queue: Requests that are not in the batch.
        kv: Their blocks, those cached, and the tiers behind.
    """

    now_s: float
    step_s: tuple[float, float] | None
    ahead: bool
    frozen_until_s: float
    speed: float
    budget_tokens: int
    most_running: int
    kv_blocks: int
    block_size: int
    submitted: int
    decoded_steps: int
    context_tokens: int
    decoding: tuple[Sequence, ...]
    prefilling: tuple[tuple[Sequence, int], ...]
    queue: RequestQueue
    kv: Allocation
