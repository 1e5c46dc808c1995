"""Day-0 step times by hardware label: what an endpoint is worth before its first request.

Decides nothing by itself: :mod:`predictor.terms` turns a profile into the starting
coefficients of the physics prior. One engine step with ``P`` prefill tokens, ``W``
squared context, ``B`` decoding sequences and ``S`` thousand tokens of context takes
``step + prefill * P + attention * W + decode * B + context * S``.

Source: linear fits to steps composed from the measured vLLM kernel tables of
ai-dynamo/aiconfigurator (Apache-2.0); mean error 3 to 8 % against those steps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class StepProfile:
    """Hold the linear step-time model of one GPU and model, in seconds.

    Attributes:
        step_s: Fixed time of a step.
        prefill_token_s: Per prefill token.
        attention_mtok2_s: Per million squared tokens of prefill context.
        decode_s: Per decoding sequence.
        context_ktok_s: Per thousand tokens of context the decoding ones hold.
    """

    step_s: float
    prefill_token_s: float
    attention_mtok2_s: float
    decode_s: float
    context_ktok_s: float


def _ms(a: float, b: float, c: float, d: float, e: float) -> StepProfile:
    return StepProfile(
        step_s=a / 1e3,
        prefill_token_s=b / 1e3,
        attention_mtok2_s=c / 1e3,
        decode_s=d / 1e3,
        context_ktok_s=e / 1e3,
    )


PROFILES: Final[Mapping[str, StepProfile]] = MappingProxyType({
    "a100_sxm/llama-3.1-8b": _ms(10.52, 0.04904, 3.346, 0.03783, 0.08361),
    "a100_sxm/qwen3-32b": _ms(23.55, 0.1257, 6.223, 0.1021, 0.08321),
    "a100_sxm/llama-3.1-70b": _ms(27.14, 0.1655, 3.788, 0.1429, 0.05543),
    "a100_sxm/codellama-34b": _ms(23.45, 0.1293, 4.999, 0.1014, 0.06376),
    "h100_sxm/llama-3.1-8b": _ms(6.218, 0.01637, 1.003, 0.0125, 0.04254),
    "h100_sxm/llama-3.1-8b-fp8": _ms(4.412, 0.0157, 0.7037, 0.01557, 0.04247),
    "h100_sxm/qwen3-32b": _ms(13.49, 0.0474, 1.977, 0.03176, 0.04412),
    "h100_sxm/qwen3-32b-tp1-fp8": _ms(14.79, 0.06288, 3.433, 0.05195, 0.08822),
    "h100_sxm/llama-3.1-70b": _ms(15.35, 0.06584, 1.29, 0.04689, 0.02803),
    "h100_sxm/llama-3.1-70b-fp8": _ms(11.02, 0.06551, 0.4495, 0.05911, 0.02691),
    "h100_sxm/llama-3.1-70b-tp2-fp8": _ms(16.58, 0.0886, 1.586, 0.06951, 0.05351),
    "h100_sxm/codellama-34b": _ms(13.08, 0.04849, 1.72, 0.03015, 0.03208),
    "h200_sxm/llama-3.1-8b": _ms(4.833, 0.01688, 0.9754, 0.01375, 0.03017),
    "h200_sxm/qwen3-32b": _ms(17.9, 0.06883, 4.442, 0.04336, 0.06378),
    "h200_sxm/llama-3.1-70b": _ms(12.1, 0.06561, 1.191, 0.04677, 0.01891),
    "h200_sxm/llama-3.1-70b-tp2-fp8": _ms(13.65, 0.0832, 1.57, 0.07322, 0.03767),
    "b200_sxm/llama-3.1-8b": _ms(3.417, 0.008917, 0.4425, 0.005777, 0.01821),
    "b200_sxm/qwen3-32b": _ms(11.98, 0.0347, 2.115, 0.0199, 0.0373),
    "b200_sxm/llama-3.1-70b-tp2-fp8": _ms(12.5, 0.04236, 0.8748, 0.04174, 0.02252),
    "l40s/llama-3.1-8b": _ms(21.54, 0.05365, 3.644, 0.03368, 0.2076),
    "l40s/llama-3.1-8b-fp8": _ms(12.66, 0.03998, 3.252, 0.02344, 0.2003),
    "rtx_pro_6000/llama-3.1-8b": _ms(10.44, 0.03492, 1.953, 0.02081, 0.0873),
    "rtx_pro_6000/qwen3-32b": _ms(43.08, 0.1391, 8.607, 0.08953, 0.1706),
})  # fmt: skip
"""By label ``gpu/model``; ``-tpN`` and ``-fp8`` follow where they are not the usual ones."""


def profile_of(label: str | None) -> StepProfile | None:
    """Find the profile of a hardware label; ``None`` for no label or an unknown one.

    >>> profile_of("h100_sxm/llama-3.1-70b") is not None
    True
    >>> profile_of("abacus") is None
    True
    """
    return None if label is None else PROFILES.get(label)
