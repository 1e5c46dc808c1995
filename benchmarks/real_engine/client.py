"""vLLM's own benchmark client: the traffic it is asked for, and what its results say.

``vllm bench serve`` is a client nobody here wrote, which is why it measures here. It is kept
as one process for the whole run (``scripts/vllm_bench.py``), because importing it costs more
CPU than a turn's traffic. With one seed its lengths and arrivals are the same every time; the
last tokens of a prompt are not, because it draws those it is short of from no seed. Before it
measures it sends the first prompt once, and asks ``/tokenize`` through the router, where that
answers, to cut prompts that came out too long.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.real_engine.routers import FOLLOW, WORK
from foretoken.errors import DemoFailed
from foretoken.vllm_cpu import SCRIPT
from foretoken.vllm_cpu import WORK as VLLM_WORK

IMPORT_S: Final = 300.0
"""Most seconds for the client's start on a machine that is busy with other work."""

TURN_S: Final = 180.0
"""Most seconds of a turn past the time its arrivals take."""

PREFIXES: Final = 4

DATASETS: Final[Mapping[str, tuple[str, ...]]] = {
    "random": (
        *("--random-input-len", "512", "--random-output-len", "32"),
        *("--random-range-ratio", "0.5"),
    ),
    "prefix_repetition": (
        *("--prefix-repetition-num-prefixes", str(PREFIXES)),
        *("--prefix-repetition-prefix-len", "1024", "--prefix-repetition-suffix-len", "128"),
        *("--prefix-repetition-output-len", "32"),
    ),
}
"""Tokens of each request by dataset; lengths of ``random`` vary by half to either side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Say what one run of the client sends.

    Attributes:
        dataset: One of ``DATASETS``.
        requests: How many; whole multiples of ``PREFIXES``.
        rate: Mean of the Poisson arrivals, requests per second.
        seed: Of prompts and arrivals: the same seed sends the same lengths at the same times.
    """

    dataset: str
    requests: int
    rate: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Hold what the client measured in one run.

    Attributes:
        requests: Sent.
        errors: Of these, failed.
        first_error: What the first of them said, ``None`` without any.
        output_tokens: Of all answers: a router that drops ``ignore_eos`` shows here.
        ttft_mean_s: Over answered requests, as the other three; ``None`` where none was.
    """

    requests: int
    errors: int
    first_error: str | None
    output_tokens: int
    ttft_mean_s: float | None
    ttft_p99_s: float | None
    e2e_mean_s: float | None
    e2e_p99_s: float | None


def arguments(url: str, traffic: Traffic, result: Path) -> list[str]:
    """Write the client's command line.

    >>> traffic = Traffic(dataset="random", requests=8, rate=2.0, seed=1)
    >>> line = arguments("http://a", traffic, Path("/r/x.json"))
    >>> line[line.index("--dataset-name") + 1], line[line.index("--result-dir") + 1]
    ('random', '/r')
    """
    return [
        *("--base-url", url, "--backend", "openai", "--endpoint", "/v1/completions"),
        *("--model", "tiny", "--tokenizer", str(VLLM_WORK / "tiny")),
        *("--dataset-name", traffic.dataset, *DATASETS[traffic.dataset]),
        *("--num-prompts", str(traffic.requests), "--request-rate", str(traffic.rate)),
        *("--seed", str(traffic.seed), "--ignore-eos", "--temperature", "0", "--disable-tqdm"),
        *("--percentile-metrics", "ttft,tpot,e2el", "--metric-percentiles", "99"),
        *("--save-result", "--save-detailed"),
        *("--result-dir", str(result.parent), "--result-filename", result.name),
    ]


def read_result(document: Mapping[str, object]) -> Measured:
    """Read the client's result file; milliseconds become seconds.

    Raises:
        DemoFailed: A field is missing or not what it was in vLLM 0.32.
    """
    try:
        answered = _count(document, "completed")
        failed = _count(document, "failed")
        errors = document.get("errors") or []
        tokens = _count(document, "total_output_tokens")
        seconds = [
            _milliseconds(document, name) / 1000 if answered else None
            for name in ("mean_ttft_ms", "p99_ttft_ms", "mean_e2el_ms", "p99_e2el_ms")
        ]
    except (KeyError, TypeError) as error:
        raise DemoFailed(f"the result of vllm bench serve cannot be read: {error!r}") from error
    said = [str(text) for text in errors if text] if isinstance(errors, Sequence) else []
    return Measured(
        requests=answered + failed,
        errors=failed,
        first_error=said[0].strip().splitlines()[-1][:200] if said else None,
        output_tokens=tokens,
        ttft_mean_s=seconds[0],
        ttft_p99_s=seconds[1],
        e2e_mean_s=seconds[2],
        e2e_p99_s=seconds[3],
    )


def _count(document: Mapping[str, object], name: str) -> int:
    value = document[name]
    if not isinstance(value, int):
        raise TypeError(f"{name} is {value!r}")
    return value


def _milliseconds(document: Mapping[str, object], name: str) -> float:
    value = document[name]
    if not isinstance(value, int | float):
        raise TypeError(f"{name} is {value!r}")
    return float(value)


class Client:
    """Hold the client's process; leaving the context ends it.

    One that hangs or dies fails its turn and is started again for the next.
    """

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._result = WORK / "bench.json"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def play(self, url: str, traffic: Traffic) -> Measured:
        """Send the traffic and give what was measured.

        Raises:
            DemoFailed: The client died, refused, or did not end in time.
        """
        self._result.unlink(missing_ok=True)
        limit_s = TURN_S + traffic.requests / traffic.rate
        if self._process is None:
            self._process = await _started()
            limit_s += IMPORT_S
        try:
            problem = await asyncio.wait_for(
                _ask(self._process, arguments(url, traffic, self._result)), limit_s
            )
        except (TimeoutError, ConnectionError, json.JSONDecodeError) as error:
            await self._end()
            why = f"not done after {limit_s:.0f} s" if isinstance(error, TimeoutError) else "died"
            raise DemoFailed(f"vllm bench serve: {why}; its log: {WORK / 'bench.log'}") from error
        if problem is not None:
            raise DemoFailed(f"vllm bench serve: {problem}")
        return read_result(json.loads(self._result.read_text()))

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _started() -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    with (WORK / "bench.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *FOLLOW, str(SCRIPT), "benches", stdin=pipe, stdout=pipe, stderr=log
        )


async def _ask(process: asyncio.subprocess.Process, line: list[str]) -> str | None:
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101
    process.stdin.write(json.dumps(line).encode() + b"\n")
    await process.stdin.drain()
    answer = json.loads(await process.stdout.readline())
    return None if answer is None else str(answer)
