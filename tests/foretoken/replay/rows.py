"""Recorded requests made by hand."""

from typing import Any

import numpy as np

from foretoken.replay.recorded import Recorded
from predictor.types import NO_OBJECTIVE


def recorded(number: int, **given: Any) -> Recorded:
    values: dict[str, Any] = {
        "arrived_s": float(number),
        "dispatched_s": float(number),
        "endpoint": "a:1",
        "outcome": "completed",
        "streamed": True,
        "prompt_tokens": 256,
        "prompt_bytes": 1024,
        "cached_tokens": 0,
        "output_tokens": 64,
        "max_tokens": None,
        "block_bytes": 256,
        "session": None,
        "tenant": None,
        "tier": None,
        "priority": 0,
        "objective": NO_OBJECTIVE,
        "ttft_s": 0.1,
        "upstream_ttft_s": 0.1,
        "tpot_s": 0.01,
        "e2e_s": 0.73,
        "policy": "lmetric",
        "reason": "policy",
        **given,
    }
    blocks = np.array(values.pop("blocks", ()), dtype=np.uint64)
    return Recorded(number=number, blocks=blocks, **values)
