"""Put the proxy before two real vLLM servers on CPU and compare its predictions with what came.

Behind ``make demo-vllm``. The two servers run models of different size under one name, so
that where a request goes matters. Prints one table; the report can be had as JSON.
"""

import asyncio
import contextlib
import random
import signal
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.table import Table

from foretoken.demo_client import relative_errors
from foretoken.terminal import console_beside, write_figures
from foretoken.vllm_cpu import VllmServer, proxy_before, vllm_pair
from foretoken.vllm_traffic import Traffic, conversations, send

SEED: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Compare one predicted quantity with what came, over a run.

    Attributes:
        measured: Requests with both a prediction and a measurement; the rest says nothing
            when this is 0.
        p50: Median of the measured values, in seconds.
        p90: Their 90 % quantile.
        predicted_p50: Median of the predictions.
        mdape_by_quarter: Median of ``|predicted - actual| / actual`` in each quarter of the run.
        mdape_of_constant: The same error, over the run, of always predicting ``p50``: what the
            best constant, chosen in hindsight, would have done.
    """

    measured: int
    p50: float | None = None
    p90: float | None = None
    predicted_p50: float | None = None
    mdape_by_quarter: tuple[float, ...] = ()
    mdape_of_constant: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Hold what the demonstration shows; its fields are the JSON's.

    Attributes:
        requests: Answered.
        errors: What went wrong, one text each.
        wall_s: Time of the traffic alone.
        hit_ratio: Prompt tokens found in a prefix cache, of all prompt tokens.
        requests_by_endpoint: Where they were served.
        models: Size of the model behind each endpoint.
        reasons: How often each ``x-foretoken-reason`` was given.
    """

    requests: int
    errors: tuple[str, ...]
    wall_s: float
    hit_ratio: float | None
    requests_by_endpoint: dict[str, int]
    models: dict[str, str]
    reasons: dict[str, int]
    ttft_s: Accuracy
    tpot_s: Accuracy


def run(*, requests: int, json_path: Path | None, keep: bool) -> int:
    """Install, start, send, print the table; give the exit status.

    Args:
        requests: How many to send.
        json_path: Where the report goes as JSON, ``None`` for nowhere.
        keep: Stay up for a look at the live page until Ctrl-C.

    Raises:
        DemoFailed: A part did not start.
    """
    console = console_beside(json_path)
    # Ends what was started, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print("starting two vLLM servers on this CPU (first installing vLLM, once)")
    with vllm_pair() as servers:
        report = asyncio.run(_measure(console, servers, requests, json_path, keep=keep))
    return 1 if report.errors or report.requests < requests else 0


async def _measure(
    console: Console,
    servers: tuple[VllmServer, ...],
    requests: int,
    json_path: Path | None,
    *,
    keep: bool,
) -> Report:
    async with proxy_before(servers) as url:
        console.print(f"sending {requests} requests; live page: {url}/foretoken/")
        traffic = await send(url, conversations(requests, random.Random(SEED)))
        report = summarise(traffic, servers)
        _present(console, report, json_path)
        if keep:
            console.print("still up; Ctrl-C ends it")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
    return report


def summarise(traffic: Traffic, servers: tuple[VllmServer, ...]) -> Report:
    """Compare predicted with actual over a run of traffic."""
    answers = traffic.answers
    prompt_tokens = sum(answer.prompt_tokens or 0 for answer in answers)
    cached_tokens = sum(answer.cached_tokens or 0 for answer in answers)
    return Report(
        requests=len(answers),
        errors=tuple(traffic.errors),
        wall_s=traffic.wall_s,
        hit_ratio=cached_tokens / prompt_tokens if prompt_tokens else None,
        requests_by_endpoint=dict(Counter(answer.endpoint or "unknown" for answer in answers)),
        models={server.endpoint: server.size for server in servers},
        reasons=dict(Counter(answer.reason or "unknown" for answer in answers)),
        ttft_s=accuracy([(answer.ttft_s, answer.predicted_ttft_s) for answer in answers]),
        tpot_s=accuracy([(answer.tpot_s, answer.predicted_tpot_s) for answer in answers]),
    )


def accuracy(pairs: list[tuple[float | None, float | None]]) -> Accuracy:
    """Compare ``(actual, predicted)`` seconds in the order they came; unknown ones are left out.

    >>> accuracy([(1.0, 2.0), (1.0, 1.5), (2.0, None), (2.0, 2.0), (4.0, 3.0)]).mdape_by_quarter
    (1.0, 0.5, 0.0, 0.25)
    """
    known = [pair for pair in pairs if None not in pair]
    if not known:
        return Accuracy(measured=0)
    actual, predicted = np.array(known, dtype=np.float64).T
    error = np.array(relative_errors(known))
    p50 = float(np.median(actual))
    return Accuracy(
        measured=len(known),
        p50=p50,
        p90=float(np.quantile(actual, 0.9)),
        predicted_p50=float(np.median(predicted)),
        mdape_by_quarter=tuple(
            float(np.median(part)) for part in np.array_split(error, 4) if len(part)
        ),
        mdape_of_constant=float(np.median(relative_errors((value, p50) for value in actual))),
    )


def _present(console: Console, report: Report, json_path: Path | None) -> None:
    write_figures(json_path, asdict(report))
    console.print(_table(report))
    for error in report.errors[:5]:
        console.print(error, style="red", markup=False)


def _table(report: Report) -> Table:
    served = ", ".join(
        f"{count} by {endpoint} ({report.models.get(endpoint, 'unknown')})"
        for endpoint, count in sorted(report.requests_by_endpoint.items())
    )
    reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(report.reasons.items()))
    hit = "unknown" if report.hit_ratio is None else f"{report.hit_ratio:.0%}"
    table = Table(
        title="predicted against actual, two vLLM servers on CPU",
        caption=f"{report.requests} requests in {report.wall_s:.0f} s, "
        f"{len(report.errors)} errors, prefix hit rate {hit}\n{served}\n{reasons}",
    )
    for heading in ("", "p50", "p90", "predicted", "error by quarter", "of a constant"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, quantity in (("TTFT, ms", report.ttft_s), ("TPOT, ms", report.tpot_s)):
        table.add_row(
            name,
            _milliseconds(quantity.p50),
            _milliseconds(quantity.p90),
            _milliseconds(quantity.predicted_p50),
            "  ".join(f"{error:.0%}" for error in quantity.mdape_by_quarter) or "no prediction",
            "" if quantity.mdape_of_constant is None else f"{quantity.mdape_of_constant:.0%}",
        )
    return table


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f}"
