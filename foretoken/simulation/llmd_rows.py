"""What llm-d's latency predictor sees and remembers: its feature rows and its buckets.

Decides how this project's feature table maps onto theirs; :mod:`llmd_predictor
<foretoken.simulation.llmd_predictor>` lists where the mapping cannot be exact. Queue,
KV and prefix keep their raw form and meaning; a metric not scraped yet is 0, as in a Go
struct nobody has filled.

Source: llm-d-latency-predictor b5d19f1, ``training/training_server.py``.
"""

from collections import deque
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from predictor.features import COLUMN
from predictor.types import FloatArray

TTFT_COLUMNS: Final = (
    "is_queued",
    "kv_cache_percentage",
    "input_token_length",
    "num_request_waiting",
    "num_request_running",
    "prefill_tokens_in_flight",
    "decode_tokens_in_flight",
    "encoder_matched_size",
    "encoder_input_size",
    "prefix_cache_score",
    "effective_input_tokens",
    "prefill_score_bucket",
    "pod_type_cat",
)
TPOT_COLUMNS: Final = (*TTFT_COLUMNS[:7], "num_tokens_generated", "pod_type_cat")
IS_QUEUED: Final = TTFT_COLUMNS.index("is_queued")
KV_CACHE: Final = TTFT_COLUMNS.index("kv_cache_percentage")
WAITING: Final = TTFT_COLUMNS.index("num_request_waiting")
PREFIX: Final = TTFT_COLUMNS.index("prefix_cache_score")
PREFIX_BUCKET: Final = TTFT_COLUMNS.index("prefill_score_bucket")

BLOCK_TOKENS: Final = 64
"""Tokens of a block of their approximate prefix index."""
MATCH_TOKENS: Final = 131_072
"""Tokens of a prompt that their prefix index looks at; beyond, prompts are alike to it."""
MATCH_TOKENS_2026_03: Final = 4096
"""The same when the first results were published: 256 blocks of 16 tokens by default
(gateway-api-inference-extension, ``DefaultMaxPrefixBlocks``)."""
QUEUE_BOUNDS: Final = (1, 3, 6, 11)
"""Waiting requests at which the next queue bucket begins: 0, 1-2, 3-5, 6-10, 11 or more."""
KV_BUCKETS: Final = 20
PREFIX_BUCKETS: Final = 4
ROWS_PER_BUCKET: Final = 500
HELD_OUT_PERCENT: Final = 10

_SHARED: Final = len(TPOT_COLUMNS) - 2
_SOURCES: Final = tuple(
    COLUMN[name]
    for name in (
        "kv_cache_usage",
        "prompt_tokens",
        "waiting_requests",
        "inflight_requests",
        "queued_prefill_tokens",
    )
)


def ttft_rows(features: FloatArray, match_tokens: int = MATCH_TOKENS) -> FloatArray:
    """Lay ``(n, n_features)`` rows of ours out as theirs, ``(n, 13)``.

    Counts and tokens are whole numbers there; fractions are cut off. ``match_tokens`` is
    how much of a prompt the prefix index looks at.

    >>> from predictor.features import N_FEATURES
    >>> ours = np.full((1, N_FEATURES), np.nan)
    >>> for name, value in {"prompt_tokens": 1000, "cached_tokens": 600, "waiting_requests": 2,
    ...     "kv_cache_usage": 0.5, "inflight_requests": 7, "queued_prefill_tokens": 90.5}.items():
    ...     ours[0, COLUMN[name]] = value
    >>> ttft_rows(ours)[0].tolist()
    [1.0, 0.5, 1000.0, 2.0, 7.0, 90.0, 0.0, 0.0, 0.0, 0.625, 375.0, 2.0, 0.0]
    """
    kv, prompt, waiting, inflight, queued_tokens = np.nan_to_num(features[:, _SOURCES]).T
    prompt, waiting = np.floor(prompt), np.floor(waiting)
    score = prefix_score(features[:, COLUMN["cached_tokens"]], prompt, match_tokens)
    rows = np.zeros((len(features), len(TTFT_COLUMNS)))
    rows[:, 0] = waiting > 0
    rows[:, 1] = kv
    rows[:, 2] = prompt
    rows[:, 3] = waiting
    rows[:, 4] = inflight
    rows[:, 5] = np.floor(queued_tokens)
    rows[:, PREFIX] = score
    rows[:, PREFIX + 1] = (1.0 - score) * prompt
    rows[:, PREFIX_BUCKET] = np.minimum(np.floor(score * PREFIX_BUCKETS), PREFIX_BUCKETS - 1)
    return rows


def prefix_score(
    cached_tokens: FloatArray,
    prompt_tokens: FloatArray | float,
    match_tokens: int = MATCH_TOKENS,
) -> FloatArray:
    """Give the share cached of the full blocks that the index looks at, ``(n,)``, 0 to 1.

    >>> prefix_score(np.array([64.0, 128.0, 10.0]), np.array([190.0, 190.0, 50.0])).tolist()
    [0.5, 1.0, 0.0]
    >>> prefix_score(np.array([2048.0, 5000.0]), 50_000.0, match_tokens=4096).tolist()
    [0.5, 1.0]
    """
    seen = np.minimum(np.asarray(prompt_tokens), match_tokens)
    full = np.floor(seen / BLOCK_TOKENS) * BLOCK_TOKENS
    score = np.minimum(cached_tokens / np.maximum(full, 1.0), 1.0)
    return np.where(full > 0, score, 0.0)


def tpot_rows(ttft: FloatArray) -> FloatArray:
    """Take the ``(n, 9)`` columns the TPOT model has in common with :func:`ttft_rows`.

    Training forces ``num_tokens_generated`` to 0, so no tree ever splits on it.
    """
    rows = np.zeros((len(ttft), len(TPOT_COLUMNS)))
    rows[:, :_SHARED] = ttft[:, :_SHARED]
    return rows


class Buckets:
    """Remember the latest rows of one target by queue, KV usage and prefix score.

    400 buckets of 500 rows, first in first out, and no expiry otherwise: a situation
    seldom met is remembered for ever. A tenth of the rows is held out, by their hash.
    """

    def __init__(self) -> None:
        self._buckets: dict[tuple[int, int, int], deque[tuple[FloatArray, float]]] = {}
        self.held_out = 0
        self.fresh = False
        """Whether a row has come since :meth:`rows` was asked."""

    def __len__(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    def add(self, row: FloatArray, label_ms: float, *, prefix: float) -> None:
        """Take in one row with its label; ``prefix`` is the score it is filed under."""
        if crc32(row.tobytes(), round(label_ms * 1e3)) % 100 < HELD_OUT_PERCENT:
            self.held_out += 1
            return
        key = (
            int(np.searchsorted(QUEUE_BOUNDS, row[WAITING], side="right")),
            min(int(row[KV_CACHE] * KV_BUCKETS), KV_BUCKETS - 1),
            min(int(prefix * PREFIX_BUCKETS), PREFIX_BUCKETS - 1),
        )
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = deque(maxlen=ROWS_PER_BUCKET)
        bucket.append((row, label_ms))
        self.fresh = True

    def rows(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Give all rows ``(n, n_columns)``, labels ``(n,)`` and which of them were queued."""
        self.fresh = False
        held = [pair for bucket in self._buckets.values() for pair in bucket]
        rows = np.array([row for row, _ in held])
        return rows, np.array([label for _, label in held]), rows[:, WAITING] > 0
