"""Multi-turn chats against recorded vLLM 0.15 on B200 (``latency/inferencex-b200``).

Shape only: the server ran Llama-3.3-70B in FP4 on one GPU, the profile is fp8 on two.
What must agree are the regimes: all clients run and none waits, the prefix cache keeps
what a conversation needs however many clients there are, KV usage grows with them, and
nothing is preempted. Closed loop: each recorded client sends its turns in order, with
recorded sizes and pauses. The KV cache holds what the recorded one did: the tokens under
way at one second over its KV usage then, about 770,000.

More clients than were recorded show what comes beyond: ``beyond`` plays every client
twice or more, as other conversations.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.fidelity.play import Played, Second, Sent, play
from benchmarks.fidelity.rows import Row
from simulator.content import Segment, block_hashes
from simulator.profiles import profile
from simulator.settings import EngineSettings
from simulator.types import SimRequest

PROFILE: Final = "b200_sxm/llama-3.1-70b-tp2-fp8"
CLIENTS: Final = (16, 32, 64, 128)
KV_TOKENS: Final = 770_000
BLOCK_TOKENS: Final = 16
Columns = dict[str, np.ndarray]


def rows(data: Path, seeds: Sequence[int], clients: Sequence[int] = CLIENTS) -> list[Row]:
    """Compare hit rate, preemptions, running requests and KV usage at each concurrency."""
    folder = data / "latency" / "inferencex-b200"
    requests = _read(folder / "requests.parquet")
    server = _read(folder / "server_metrics_1hz.parquet")
    found = []
    for count in clients:
        run = f"tp1_bs{count}_offloadoff"
        sent = {name: values[requests["run"] == run] for name, values in requests.items()}
        seen = {name: values[server["run"] == run] for name, values in server.items()}
        runs = [simulate(conversations(sent), count, seed) for seed in seeds]
        found += _run_rows(count, seen, runs)
    return found


def beyond(data: Path, seed: int, copies: Sequence[int] = (2, 4)) -> list[Row]:
    """Play the largest recorded load several times at once: nothing recorded to compare with."""
    count = max(CLIENTS)
    requests = _read(data / "latency" / "inferencex-b200" / "requests.parquet")
    chosen = requests["run"] == f"tp1_bs{count}_offloadoff"
    sent = {name: values[chosen] for name, values in requests.items()}
    found = []
    for many in copies:
        chains = [chain for copy in range(many) for chain in conversations(sent, copy)]
        played = simulate(chains, count * many, seed)
        data_name = f"inferencex-b200, {count * many} clients"
        preempted = float(played.seconds[-1].preemptions)
        found += [
            Row(
                data=data_name,
                quantity=quantity,
                real=None,
                simulated=[value],
                limit=None,
                unit=unit,
                note="not recorded: what the simulator says comes beyond",
            )
            for quantity, value, unit in (
                ("prefix hit rate", _hit_rate(played), "of 1"),
                ("preemptions", preempted, ""),
            )
        ]
    return found


def simulate(chains: Sequence[Sequence[Sent]], clients: int, seed: int) -> Played:
    """Play clients against one endpoint that takes as many at once."""
    settings = EngineSettings(max_num_seqs=clients, kv_tokens=KV_TOKENS)
    return play(chains, profile=profile(PROFILE), settings=settings, seed=seed)


def conversations(sent: Columns, copy: int = 0) -> list[list[Sent]]:
    """Make each recorded client a chain.

    A turn's prompt repeats the conversation so far, answers included, as far as it is long.
    """
    order = np.argsort(sent["start_time_ms"], kind="stable")
    began_ms = float(sent["start_time_ms"].min())
    chains: dict[int, list[Sent]] = {}
    ended_ms: dict[int, float] = {}
    history: dict[int, list[Segment]] = {}
    for number, index in enumerate(order):
        conversation = int(sent["conversation_id"][index])
        client = int(sent["client_id"][index])
        prompt, output = (
            int(sent[name][index]) for name in ("input_num_tokens", "output_num_tokens")
        )
        start_ms = float(sent["start_time_ms"][index])
        content = (copy * len(order) + number) * 2
        segments = _extend(history.get(conversation, []), prompt, content)
        segments.append((content + 1, output))
        history[conversation] = segments
        pause_ms = max(0.0, start_ms - ended_ms[client]) if client in ended_ms else 0.0
        chain = chains.setdefault(client, [])
        request = SimRequest(
            request_id=f"{copy}-{number}",
            prompt_tokens=prompt,
            output_tokens=output,
            block_hashes=block_hashes(segments, BLOCK_TOKENS),
        )
        at_s = 0.0 if chain else (start_ms - began_ms) / 1e3
        chain.append(Sent(request=request, at_s=at_s, think_s=pause_ms / 1e3))
        ended_ms[client] = start_ms + float(sent["latency_ms"][index])
    return list(chains.values())


def _extend(history: Sequence[Segment], prompt_tokens: int, content: int) -> list[Segment]:
    """Repeat a conversation up to a length, and go on with other content where it is longer."""
    segments, left = [], prompt_tokens
    for content_id, tokens in history:
        taken = min(tokens, left)
        if taken:
            segments.append((content_id, taken))
        left -= taken
    if left:
        segments.append((content, left))
    return segments


def _run_rows(clients: int, seen: Columns, runs: Sequence[Played]) -> list[Row]:
    busy = slice(len(seen["num_requests_running"]) // 10, -len(seen["num_requests_running"]) // 10)
    hits, queries = (
        float(seen[name][-1]) for name in ("prefix_cache_hits", "prefix_cache_queries")
    )
    compared = (
        ("prefix hit rate", hits / queries, [_hit_rate(run) for run in runs], 0.03, "of 1"),
        (
            "preemptions",
            float(seen["num_preemptions_total"][-1]),
            [float(run.seconds[-1].preemptions) for run in runs],
            0.0,
            "",
        ),
        (
            "running, median",
            float(np.median(seen["num_requests_running"][busy])),
            [float(np.median([second.running for second in _busy(run)])) for run in runs],
            0.05 * clients,
            "",
        ),
        (
            "waiting, median",
            float(np.median(seen["num_requests_waiting"][busy])),
            [float(np.median([second.waiting for second in _busy(run)])) for run in runs],
            0.05 * clients,
            "",
        ),
        (
            "KV usage, median",
            float(np.median(seen["kv_cache_usage_pct"][busy])) / 100,
            [float(np.median([second.kv_cache_usage for second in _busy(run)])) for run in runs],
            0.05,
            "of 1",
        ),
    )
    return [
        Row(
            data=f"inferencex-b200, {clients} clients",
            quantity=quantity,
            real=real,
            simulated=ours,
            limit=limit,
            unit=unit,
            absolute=True,
        )
        for quantity, real, ours, limit, unit in compared
    ]


def _hit_rate(run: Played) -> float:
    last = run.seconds[-1]
    return last.prefix_hits / last.prefix_queries


def _busy(run: Played) -> list[Second]:
    tenth = len(run.seconds) // 10
    return run.seconds[tenth : len(run.seconds) - tenth]


def _read(path: Path) -> Columns:
    table = pq.read_table(path)
    return {name: table[name].to_numpy() for name in table.column_names}
