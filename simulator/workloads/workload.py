"""Workloads by name or file: what is sent, how long it is measured, what is promised.

Decides what a workload file holds. A file that ships and one of the user's are alike;
``traffic.kind`` picks the generator. Called by the virtual-time driver and benchmarks.
"""

import json
import tomllib
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.errors import TooMuchTraffic, UnknownWorkload, WorkloadInvalid, WorkloadTooLong
from simulator.traffic import Chain
from simulator.workloads.conversations import Conversations
from simulator.workloads.foreign import read_trace
from simulator.workloads.mixture import Mixture
from simulator.workloads.replay import Replay, ReplaySpec
from simulator.workloads.sessions import Sessions
from simulator.workloads.shared_prefix import SharedPrefix

MOST_USERS: Final = 100_000
"""Of a closed loop: each has a generator of its own."""

_PACKAGE: Final = "simulator.workloads"


class WorkloadObjective(BaseModel):
    """Name the targets that goodput is counted against; ``None`` is no target."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ttft_s: float | None = Field(default=None, gt=0.0)
    tpot_s: float | None = Field(default=None, gt=0.0)


class WorkloadSpec(BaseModel):
    """Hold what a workload file says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    description: str
    source: str
    """Where the sizes come from."""
    warmup_s: float = Field(ge=0.0, le=1e6)
    """Until batches and caches are filled."""
    measure_s: float = Field(gt=0.0, le=1e6)
    """Several times the mean e2e."""
    rates: tuple[Annotated[float, Field(gt=0.0)], ...] = ()
    """Rates worth looking at, the first being the default: requests per second, or users."""
    objective: WorkloadObjective = WorkloadObjective()
    traffic: Annotated[
        SharedPrefix | Conversations | Sessions | Mixture | ReplaySpec,
        Field(discriminator="kind"),
    ]


class Workload:
    """Write the traffic of one workload.

    A trace is read when something of it is first asked for, and every property and method
    that needs it raises ``WorkloadInvalid`` if it cannot be used.

    Args:
        name: What it is called in tables.
        path: Its file, for errors.
        spec: What the file says.
        data: Folder that trace files are relative to.
    """

    def __init__(self, name: str, path: str, spec: WorkloadSpec, data: Path) -> None:
        self.name = name
        self.spec = spec
        self._path = path
        self._data = data

    @cached_property
    def _traffic(self) -> SharedPrefix | Conversations | Sessions | Mixture | Replay:
        traffic = self.spec.traffic
        if not isinstance(traffic, ReplaySpec):
            return traffic
        path = self._data / traffic.trace
        if not path.exists():
            raise WorkloadInvalid(str(path), "no such trace; is that the data folder?")
        return Replay(traffic, read_trace(traffic.format, path))

    @property
    def loop(self) -> Literal["open", "closed"]:
        """Tell whether ``rate`` is requests per second (open) or users at a time (closed)."""
        return self._traffic.loop

    @property
    def warmup_s(self) -> float:
        """Give the length of the transient, in seconds."""
        return self.spec.warmup_s

    @property
    def measure_s(self) -> float:
        """Give the length of the window that is measured, in seconds."""
        return self.spec.measure_s

    @property
    def objective(self) -> WorkloadObjective:
        """Give the targets of goodput."""
        return self.spec.objective

    @property
    def rate(self) -> float | None:
        """Give the rate where none is asked for: the file's first, or the trace's own."""
        if self.spec.rates:
            return self.spec.rates[0]
        return self._traffic.recorded_rate if isinstance(self._traffic, Replay) else None

    def chains(self, *, seed: int, rate: float, until_s: float) -> list[Chain]:
        """Write the traffic anew; the same arguments give the same requests.

        Args:
            seed: Fixes everything.
            rate: Mean requests per second of an open loop; users of a closed one, rounded,
                at least 1.
            until_s: An open loop's arrivals lie in ``[0, until_s)``; a closed one's chains
                have no end.

        Raises:
            TooMuchTraffic: That rate makes more requests or users than is taken for real.
        """
        if self.loop == "closed" and rate > MOST_USERS:
            raise TooMuchTraffic(rate, MOST_USERS, what="users")
        return self._traffic.chains(seed=seed, rate=rate, until_s=until_s)

    def check_fits(self, limit_tokens: int) -> None:
        """Refuse a fleet that cannot hold the workload's longest request.

        Args:
            limit_tokens: Most tokens, prompt and output, the smallest endpoint holds for
                one request.

        Raises:
            WorkloadTooLong: With the trace's line, or the most a generator draws.
        """
        if isinstance(self._traffic, Replay):
            tokens, line = self._traffic.longest
            if tokens > limit_tokens:
                raise WorkloadTooLong(self._traffic.path, tokens, limit_tokens, line=line)
        elif self._traffic.most_tokens > limit_tokens:
            raise WorkloadTooLong(self._path, self._traffic.most_tokens, limit_tokens)

    def capacity(self, fleet: str) -> float | None:
        """Give the largest rate a fleet that ships carries, ``None`` where none is on record.

        It is the largest open-loop rate at which the best of three well-known heuristics
        keeps TTFT in hand; ``capacity.json`` beside the workloads is written by a benchmark.
        """
        text = files(_PACKAGE).joinpath("capacity.json").read_text(encoding="utf-8")
        known: dict[str, dict[str, float]] = json.loads(text)
        return known.get(self.name, {}).get(fleet)


def workload_names() -> tuple[str, ...]:
    """List the workloads that ship, sorted.

    >>> "post-a" in workload_names()
    True
    """
    found = (entry.name for entry in files(_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def load_workload(name_or_path: str | Path, data: Path | None = None) -> Workload:
    """Load a workload that ships, by name, or a file.

    Args:
        name_or_path: ``post-a``, the path of a TOML file, or that of a trace in canonical
            form (``.jsonl``, ``.jsonl.gz``), which is replayed.
        data: Folder that trace files are relative to; ``None`` is the folder of the file
            for a file, and the working directory for a name.

    Raises:
        UnknownWorkload: It is neither; the error lists the names there are.
        WorkloadInvalid: The file cannot be used. Its trace is read later.

    >>> load_workload("post-a").loop
    'open'
    """
    name = str(name_or_path)
    if name in workload_names():
        entry = files(_PACKAGE).joinpath(f"{name}.toml")
        text = entry.read_text(encoding="utf-8")
        return Workload(name, f"{name}.toml", _parse(f"{name}.toml", text), data or Path())
    path = Path(name_or_path)
    if name.endswith((".jsonl", ".jsonl.gz")):
        return Workload(path.name.split(".")[0], name, _replayed(path.name), path.parent)
    if path.suffix != ".toml":
        raise UnknownWorkload(name, workload_names())
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise WorkloadInvalid(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise WorkloadInvalid(str(path), f"is no UTF-8 text: {error}") from error
    return Workload(path.stem, str(path), _parse(str(path), text), data or path.parent)


def _replayed(trace: str) -> WorkloadSpec:
    """Describe the replay of a trace that no file describes."""
    return WorkloadSpec(
        description=f"Replay of {trace}.",
        source=trace,
        warmup_s=60.0,
        measure_s=180.0,
        traffic=ReplaySpec(kind="replay", format="canonical", trace=trace),
    )


def _parse(path: str, text: str) -> WorkloadSpec:
    try:
        return WorkloadSpec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise WorkloadInvalid(path, str(error)) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise WorkloadInvalid(path, "; ".join(problems)) from error
