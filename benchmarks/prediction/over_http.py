"""llm-d's own servers as a contender, over their HTTP API, beside our copy of them.

Start its training and prediction servers (b5d19f1 or v0.8.0; v0.9.0 never trains) with
the production chart's settings, ``LATENCY_OBJECTIVE_TYPE=mean`` and
``LATENCY_MIN_SAMPLES_FOR_RETRAIN=100``, both intervals 10 s divided by ``--http-speed``,
and name their addresses: ``--reference-http http://127.0.0.1:8000 http://127.0.0.1:8001``.
Sets are played row by row in real time, sped up; training takes as long as it takes.
Rows go to ``/add_training_data_bulk`` once a second of traffic, predictions come from
``/predict/bulk/strict``. Shows how close ``reference`` is; judges nothing.
"""

import argparse
import time
from types import TracebackType
from typing import ClassVar, Final

import httpx
import numpy as np
from rich.console import Console

from benchmarks.prediction.musts import Key
from benchmarks.prediction.play import Said, play
from benchmarks.prediction.plays import REFERENCE, read_sets
from benchmarks.prediction.reference import Reference
from benchmarks.prediction.rowset import ROW_BY_ROW, Label, Request, RowSet
from benchmarks.prediction.scores import Figures, figures
from benchmarks.prediction.tables import error_table
from foretoken.errors import ForetokenError
from foretoken.simulation.llmd_rows import KV_CACHE, TTFT_COLUMNS, WAITING
from predictor.types import FloatArray

HTTP: Final = "llm-d over HTTP"
_FLUSH_S: Final = 1.0
_TIMEOUT_S: Final = 30.0
_LEAST_S: Final = 1e-9  # it may say 0 ms, which has no logarithm
_FRACTIONS: Final = ("kv_cache_percentage", "prefix_cache_score")
_COUNTS: Final = (
    "input_token_length", "num_request_waiting", "num_request_running",
    "prefill_tokens_in_flight", "decode_tokens_in_flight", "encoder_matched_size",
    "encoder_input_size",
)  # fmt: skip
_Json = dict[str, float | int | str]


class ReferenceUnreachable(ForetokenError):
    """Say that llm-d's servers do not answer as they should."""


class HttpReference:
    """Predict and train over HTTP, at ``speed`` seconds of traffic a second.

    Args:
        train_url: Of the training server.
        predict_url: Of a prediction server that polls it.
        speed: How much faster than recorded.
    """

    expert_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, train_url: str, predict_url: str, *, speed: float) -> None:
        self._train_url, self._predict_url = train_url, predict_url
        self._speed = speed
        self._client = httpx.Client(timeout=_TIMEOUT_S)
        self._entries: list[_Json] = []
        self._began_s = time.monotonic()
        self._flushed_s = 0.0

    def __enter__(self) -> "HttpReference":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    def reset(self) -> None:
        """Make the training server forget its rows; models stay until new ones are trained."""
        self._post(self._train_url, "/flush", {})

    def predict(self, request: Request, now: float) -> Said:  # noqa: ARG002  # train() keeps time
        """Ask the prediction server for one endpoint."""
        asked = as_json(request.reference_row)
        answer = self._post(self._predict_url, "/predict/bulk/strict", {"requests": [asked]})
        said = answer["predictions"][0]
        mean_s = np.maximum(np.array([said["ttft_ms"], said["tpot_ms"]]) / 1e3, _LEAST_S)
        return Said(mean_s=mean_s, p50_s=mean_s, p90_s=mean_s, experts=np.empty((2, 0)))

    def learn(self, rows: RowSet, label: Label, said: Said) -> None:  # noqa: ARG002  # unused there
        """Buffer the training entry of a label."""
        row = rows.requests[label.request].reference_row
        if label.seen is not None and label.target == "tpot":
            row = row.copy()
            row[WAITING], row[KV_CACHE] = label.seen
        measured = {f"actual_{target}_ms": 0.0 for target in ("ttft", "tpot")}
        measured[f"actual_{label.target}_ms"] = label.seconds * 1e3
        entry = as_json(row) | measured
        if label.target == "tpot":
            entry["prefix_cache_score"] = 0.0
        self._entries.append(entry)

    def train(self, now: float) -> None:
        """Wait until it is time for the next event and hand over what was learned."""
        if now >= self._flushed_s + _FLUSH_S and self._entries:
            self._post(self._train_url, "/add_training_data_bulk", {"entries": self._entries})
            self._entries, self._flushed_s = [], now
        time.sleep(max(0.0, self._began_s + now / self._speed - time.monotonic()))

    def _post(self, url: str, path: str, body: object) -> dict[str, list[dict[str, float]]]:
        try:
            answer = self._client.post(url + path, json=body)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise ReferenceUnreachable(f"{url}{path}: {error!r}") from error
        found: dict[str, list[dict[str, float]]] = answer.json()
        return found


def as_json(row: FloatArray) -> _Json:
    """Write one of its rows as its request schema has it."""
    known = dict(zip(TTFT_COLUMNS, row.tolist(), strict=True))
    return {
        **{name: float(known[name]) for name in _FRACTIONS},
        **{name: int(known[name]) for name in _COUNTS},
        "num_tokens_generated": 0,
        "pod_type": "",
    }


def main_part(given: argparse.Namespace, console: Console) -> tuple[dict[str, object], bool]:
    """Play the wanted sets by both and print them; nothing without addresses."""
    if given.reference_http is None:
        return {}, True
    found: dict[str, dict[Key, Figures]] = {HTTP: {}, REFERENCE: {}}
    for at_once, _, _ in read_sets(given.data):
        if given.sets and at_once.name not in given.sets:
            continue
        train_url, predict_url = given.reference_http
        with (
            console.status(f"{at_once.name} over HTTP"),
            HttpReference(train_url, predict_url, speed=given.http_speed) as served,
        ):
            served.reset()
            for who, contender in ((HTTP, served), (REFERENCE, Reference())):
                for target, seen in play(at_once, contender).items():
                    found[who][at_once.name, ROW_BY_ROW, target] = figures(seen)
    console.print(error_table(found))
    return {
        who: {"/".join(key): each for key, each in by_key.items()} for who, by_key in found.items()
    }, True
