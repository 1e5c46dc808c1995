"""The simulated endpoint's two clocks side by side: over HTTP in real time, and virtual.

    python -m benchmarks.http_face [--json PATH] [--quick]

Starts ``foretoken simulate-endpoint``, sends it conversations over loopback at fixed times,
and measures what a client sees. Then plays the same requests, at the times they really
went out, through the engine in virtual time. Exits 1 when the medians of TTFT or e2e
differ by more than 5 %.
"""

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console
from rich.table import Table

from foretoken.demo_traffic import Played
from foretoken.demo_traffic import play as play_over_http
from foretoken.processes import Processes, free_ports
from simulator import (
    Arrival,
    Completion,
    ConversationMix,
    EndpointSettings,
    Engine,
    Language,
    SimRequest,
    chain_hashes,
    conversations,
    profile,
    tokenize_chat,
)
from simulator.playback import play

PROFILE: Final = "h100_sxm/qwen3-32b"
RATE: Final = 2.5
"""Requests per second: about half of what the endpoint takes without a growing queue."""

MIX: Final = ConversationMix(question_tokens=(500, 2000))
"""Questions with a document in them: a prefill of a tenth of a second, not of one step."""

SEED: Final = 7
DURATION_S: Final = 75.0
QUICK_S: Final = 15.0
MOST_OFF: Final = 0.05
"""Largest difference of the medians, as a fraction of the virtual one."""


def main() -> None:
    """Measure, compare, and judge."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--quick", action="store_true", help="a fifth of the time")
    given = arguments.parse_args()
    arrivals = conversations(SEED, QUICK_S if given.quick else DURATION_S, RATE, MIX)
    played = asyncio.run(over_http(arrivals))
    failures = {answer.error for answer in played.answers if answer.error is not None}
    if failures:
        sys.exit(f"requests failed: {', '.join(sorted(failures))}")
    completions = in_virtual_time(arrivals, [answer.at_s for answer in played.answers])
    rows = {
        "ttft": compare(
            [answer.ttft_s or 0.0 for answer in played.answers],
            [done.ttft_s for done in completions],
        ),
        "e2e": compare(
            [answer.e2e_s or 0.0 for answer in played.answers], [done.e2e_s for done in completions]
        ),
    }
    lag_s = statistics.quantiles(played.loop_lag_s, n=10)[-1]
    Console().print(_table(rows, len(arrivals)))
    Console().print(
        f"The client's event loop was {lag_s * 1e3:.1f} ms late at its 90th percentile: much "
        f"more than 5 ms means that the machine is busy and the HTTP times are not the face's."
    )
    if given.json is not None:
        document = {"requests": len(arrivals), "loop_lag_p90_s": lag_s, **rows}
        given.json.write_text(json.dumps(document, indent=2) + "\n")
    sys.exit(0 if all(map(_passes, rows.values())) else 1)


async def over_http(arrivals: Sequence[Arrival]) -> Played:
    """Send every request at its time to an endpoint of its own process.

    Raises:
        DemoFailed: The endpoint did not come up.
    """
    with TemporaryDirectory(prefix="foretoken-http-face-") as folder:
        async with Processes(Path(folder)) as processes:
            (port,) = free_ports(1)
            url = f"http://127.0.0.1:{port}"
            options = ("--port", str(port), "--profile", PROFILE, "--seed", str(SEED))
            await processes.start("endpoint", "simulate-endpoint", *options)
            await processes.wait_ready("endpoint", f"{url}/health")
            return await play_over_http(url, profile(PROFILE).model, arrivals, lambda _: None)


def in_virtual_time(arrivals: Sequence[Arrival], sent_s: Sequence[float]) -> list[Completion]:
    """Play the same requests through the engine alone; completions in order of arrival."""
    settings = EndpointSettings(profile=PROFILE, seed=SEED)
    engine = Engine(profile(PROFILE), settings, Random(settings.seed))
    language = Language()
    requests = []
    for number, (arrival, at_s) in enumerate(zip(arrivals, sent_s, strict=True)):
        prompt = tokenize_chat(arrival.messages)
        answer = language.answer(prompt, arrival.output_tokens).encode()
        request = SimRequest(
            request_id=str(number),
            prompt_tokens=arrival.prompt_tokens,
            output_tokens=arrival.output_tokens,
            block_hashes=chain_hashes(prompt + answer, settings.block_size),
        )
        requests.append((at_s, request))
    done = play(engine, sorted(requests, key=lambda one: one[0]))
    return [done[str(number)] for number in range(len(arrivals))]


def compare(http: Sequence[float], virtual: Sequence[float]) -> dict[str, float]:
    """Compare two clocks' seconds of the same requests.

    Returns:
        Medians and 90th percentiles in seconds, their ratios (HTTP over virtual), and the
        median and 90th percentile of the differences request by request, in seconds.
    """
    ours, theirs = _quantiles(http), _quantiles(virtual)
    apart = _quantiles([abs(one - other) for one, other in zip(http, virtual, strict=True)])
    return {
        "http_p50_s": ours[0],
        "virtual_p50_s": theirs[0],
        "ratio_p50": ours[0] / theirs[0],
        "http_p90_s": ours[1],
        "virtual_p90_s": theirs[1],
        "ratio_p90": ours[1] / theirs[1],
        "apart_p50_s": apart[0],
        "apart_p90_s": apart[1],
    }


def _quantiles(seconds: Sequence[float]) -> tuple[float, float]:
    return statistics.median(seconds), statistics.quantiles(seconds, n=10)[-1]


def _passes(row: dict[str, float]) -> bool:
    return abs(row["ratio_p50"] - 1.0) <= MOST_OFF


def _table(rows: dict[str, dict[str, float]], requests: int) -> Table:
    title = f"HTTP face against virtual time, {requests} requests, {RATE:g}/s on {PROFILE}"
    table = Table(
        "", "HTTP p50", "virtual p50", "ratio", "must", "ratio p90", "apart p50", title=title
    )
    for name, row in rows.items():
        table.add_row(
            name,
            f"{row['http_p50_s'] * 1e3:.1f} ms",
            f"{row['virtual_p50_s'] * 1e3:.1f} ms",
            f"{row['ratio_p50']:.3f}",
            f"within {MOST_OFF:.0%}: {'ok' if _passes(row) else 'FAILS'}",
            f"{row['ratio_p90']:.3f}",
            f"{row['apart_p50_s'] * 1e3:.1f} ms",
        )
    return table


if __name__ == "__main__":
    main()
