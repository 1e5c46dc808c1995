"""Step-time profiles: how long one vLLM engine step takes on a GPU, by its contents.

Decides nothing; it evaluates the fitted ``knots`` form for the engine. The
coefficients and their source are in ``profiles.json`` beside this file.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from typing import Final, NotRequired, TypedDict

from simulator.errors import UnknownProfile

WHOLE_PREFILL_TOKENS: Final = 64
"""Prefill tokens from which on a step pays all of ``prefill_s``: recorded H100 steps with
chunks of a few tokens are 8 % shorter than the fit, which no such chunk was part of."""


class _Row(TypedDict):
    gpu: str
    model: str
    tp: int
    dtype: str
    kv_tokens: int
    max_num_batched_tokens: int
    m: list[int]
    g_ms: list[float]
    c_ms_per_mtok2: float
    d_ms_per_decode_seq: float
    e_ms_per_ktok_ctx: float
    p_ms_if_prefill: float
    real_ratio: NotRequired[float]
    e_prefill_ms_per_ktok_ctx: NotRequired[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Hold one GPU x model configuration: its step times and what its KV cache holds.

    A step with ``m`` tokens in all takes ``g(m)``, piecewise linear, plus a term for
    attention of the prefill chunks, one for the context of the decodes, and two small ones.

    Attributes:
        name: As given on the command line, ``gpu/model[-tpN][-dtype]``.
        gpu: GPU type.
        model: Model served.
        tp: Tensor-parallel GPUs.
        dtype: Weight format, ``bfloat16`` or ``fp8``.
        kv_tokens: Tokens the KV cache holds.
        max_num_batched_tokens: vLLM's default token budget of a step on that GPU.
        knots: Step sizes in tokens, ascending.
        base_s: Seconds of a step at each knot.
        slopes_s: Seconds per token above each knot.
        attention_s: Seconds per 1e6 squared tokens of prefill attention.
        decoding_s: Seconds per decoding sequence, beyond what ``g`` counts.
        context_s: Seconds per 1e3 tokens of context the decodes read.
        prefill_context_s: The same in a step that prefills too.
        prefill_s: Seconds added by prefill, in proportion below ``WHOLE_PREFILL_TOKENS``.
    """

    name: str
    gpu: str
    model: str
    tp: int
    dtype: str
    kv_tokens: int
    max_num_batched_tokens: int
    knots: tuple[int, ...]
    base_s: tuple[float, ...]
    slopes_s: tuple[float, ...]
    attention_s: float
    decoding_s: float
    context_s: float
    prefill_context_s: float
    prefill_s: float

    def step_s(
        self, chunks: Iterable[tuple[int, int]], decoding: int, context_tokens: int
    ) -> float:
        """Time one engine step.

        Args:
            chunks: ``(new, prefix)`` tokens of each prefill chunk: computed in this
                step, and already in the cache before it.
            decoding: Sequences that decode one token.
            context_tokens: Tokens of context those hold in all.

        Returns:
            Seconds, without noise. Beyond the outer knots the nearest slope goes on.

        >>> h100 = profile("h100_sxm/llama-3.1-8b")
        >>> round(h100.step_s([], 1, 1000), 5), round(h100.step_s([(2048, 0)], 0, 0), 4)
        (0.00628, 0.0445)
        """
        prefill = 0
        squares = 0.0
        for new, prefix in chunks:
            prefill += new
            squares += new * (prefix + new / 2)
        return (
            self._base_s(prefill + decoding)
            + self.attention_s * squares / 1e6
            + self.decoding_s * decoding
            + (self.prefill_context_s if prefill else self.context_s) * context_tokens / 1e3
            + self.prefill_s * min(1.0, prefill / WHOLE_PREFILL_TOKENS)
        )

    def decode_s(self, decoding: int) -> float:
        """Time a step that only decodes, in seconds, but for the context it reads."""
        return self._base_s(decoding) + self.decoding_s * decoding

    def _base_s(self, tokens: int) -> float:
        knot = max(0, bisect_right(self.knots, tokens) - 1)
        return self.base_s[knot] + self.slopes_s[knot] * (tokens - self.knots[knot])


def profiles() -> dict[str, Profile]:
    """Read every profile there is, by name.

    >>> len(profiles()), profiles()["l40s/llama-3.1-8b"].kv_tokens
    (23, 195770)
    """
    text = files("simulator").joinpath("profiles.json").read_text(encoding="utf-8")
    rows: dict[str, _Row] = json.loads(text)["profiles"]
    return {name: _profile(name, row) for name, row in rows.items()}


def profile(name: str) -> Profile:
    """Find one profile by its name.

    Raises:
        UnknownProfile: It does not exist; the error lists those that do.
    """
    known = profiles()
    if name not in known:
        raise UnknownProfile(name, tuple(sorted(known)))
    return known[name]


def _profile(name: str, row: _Row) -> Profile:
    ms = 1e3 / row.get("real_ratio", 1.0)  # of the tables in a second of the real server
    base_s = tuple(value / ms for value in row["g_ms"])
    rises = [high - low for low, high in pairwise(base_s)]
    runs = [high - low for low, high in pairwise(row["m"])]
    slopes = [rise / run for rise, run in zip(rises, runs, strict=True)]
    context_s = row["e_ms_per_ktok_ctx"] / ms
    prefill_context_ms = row.get("e_prefill_ms_per_ktok_ctx")  # measured as it is
    return Profile(
        name=name,
        gpu=row["gpu"],
        model=row["model"],
        tp=row["tp"],
        dtype=row["dtype"],
        kv_tokens=row["kv_tokens"],
        max_num_batched_tokens=row["max_num_batched_tokens"],
        knots=tuple(row["m"]),
        base_s=base_s,
        slopes_s=(*slopes, slopes[-1]),
        attention_s=row["c_ms_per_mtok2"] / ms,
        decoding_s=row["d_ms_per_decode_seq"] / ms,
        context_s=context_s,
        prefill_context_s=context_s if prefill_context_ms is None else prefill_context_ms / 1e3,
        prefill_s=row["p_ms_if_prefill"] / ms,
    )
