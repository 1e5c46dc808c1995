"""One recorded run of real vLLM as a trace of ours: fitted on a part, judged on the rest.

Reads what ``benchmarks.fidelity`` reads: 300 ShareGPT requests that vLLM 0.19 served on an
RTX PRO 6000, in a burst that fills its 128 places, so its TTFT is mostly queueing. There is
one endpoint and no router: only the play at the recorded place is judged.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from rich.table import Table

from benchmarks.fidelity.replay import BLOCK_TOKENS, Recording, read
from collectors.trace_schema import to_table
from foretoken.replay.question import Question, ask
from foretoken.replay.report import as_json
from predictor.features import COLUMN, N_FEATURES
from predictor.types import Decision, Measurement, RequestFeatures, RequestRecord

_RUN: Final = ("Llama-3.1-8B", "sharegpt-llama-3.1-8b-300-sps10.jsonl", "rtx_pro_6000/llama-3.1-8b")
_BYTES_PER_TOKEN: Final = 4
_FIT_SHARE: Final = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class RealEngine:
    """Hold what the run showed.

    Attributes:
        table: For people.
        document: The replay's own.
    """

    table: Table
    document: dict[str, object]


def real_engine(data: Path) -> RealEngine | None:
    """Judge the replay by real vLLM; ``None`` without the data."""
    model, trace, profile = _RUN
    if not (data / "traces" / "llmservingsim" / trace).exists():
        return None
    recording = read(data, model, trace, profile)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.parquet"
        pq.write_table(to_table(records(recording), epoch_offset_s=0.0), path)
        answer = ask(Question(paths=(path,), seeds=2, fit_share=_FIT_SHARE))
    table = Table(
        title="Real vLLM 0.19, 8B on RTX PRO 6000: later requests, by a fit to earlier ones"
    )
    for name in ("figure", "recorded", "replayed", "off"):
        table.add_column(name, justify="right" if name != "figure" else "left")
    for name, each in answer.trust.deviations.items():
        table.add_row(
            name, f"{each.recorded:.4g}", f"{each.placed:.4g}", f"{each.placed_error:+.1%}"
        )
    table.caption = f"{answer.trust.verdict}: {answer.trust.because}; ranks {answer.trust.ranks}"
    return RealEngine(table=table, document=as_json(answer))


def records(recording: Recording) -> list[RequestRecord]:
    """Give the run's requests as a router in front of it would have recorded them."""
    features = np.full((1, N_FEATURES), np.nan)
    features[0, COLUMN["max_seqs"]] = recording.settings.max_num_seqs
    features[0, COLUMN["max_batched_tokens"]] = recording.budget
    features[0, COLUMN["block_size"]] = BLOCK_TOKENS
    found = []
    for index, (sent,) in enumerate(recording.chains):
        request, at_s = sent.request, sent.at_s
        ttft_s, e2e_s = float(recording.ttft_s[index]), float(recording.e2e_s[index])
        prompt_blocks = request.prompt_tokens // BLOCK_TOKENS
        found.append(
            RequestRecord(
                request=RequestFeatures(
                    request_id=request.request_id,
                    arrived_s=at_s,
                    model="llama-3.1-8b",
                    prompt_bytes=request.prompt_tokens * _BYTES_PER_TOKEN,
                    streamed=True,
                    block_hashes=tuple(request.block_hashes[:prompt_blocks]),
                    block_bytes=BLOCK_TOKENS * _BYTES_PER_TOKEN,
                ),
                fleet="llama-3.1-8b",
                decision=Decision(
                    endpoints=("vllm",),
                    features=features,
                    matched_tokens=np.zeros(1),
                    predictions=None,
                    costs=np.zeros(1),
                    chosen=0,
                    order=(0,),
                    policy="none",
                    reason="policy",
                    prompt_tokens=request.prompt_tokens,
                    decided_s=at_s,
                ),
                endpoint="vllm",
                attempts=1,
                measurement=Measurement(
                    outcome="completed",
                    prompt_tokens=request.prompt_tokens,
                    output_tokens=request.output_tokens,
                    status=200,
                ),
                finished_s=at_s + e2e_s,
                dispatched_s=at_s,
                ttft_s=ttft_s,
                upstream_ttft_s=ttft_s,
                tpot_s=(e2e_s - ttft_s) / max(request.output_tokens - 1, 1),
                e2e_s=e2e_s,
            )
        )
    return found
