"""Fleets by name or file: which endpoints serve a model, and how far away they are.

Decides what a fleet file holds. Called by the virtual-time driver and benchmarks.
"""

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from simulator.errors import FleetInvalid, UnknownFleet, UnknownProfile
from simulator.fleets.faults import Fault, Replace
from simulator.profiles import Profile, profile
from simulator.settings import EngineSettings

_PACKAGE: Final = "simulator.fleets"

_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class SharedTier(BaseModel):
    """Describe KV storage that all endpoints of a fleet share."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    tokens: int = Field(ge=1)
    """Tokens of KV it keeps."""
    load_s_per_token: float = Field(ge=0.0, le=1.0)
    """Time to bring one to an endpoint's GPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSpec:
    """Describe one endpoint of a fleet.

    Attributes:
        name: Unique within the fleet.
        profile: How long its steps take.
        engine: Sizes and pace of its engine.
        priority_class: 0 serves first, higher classes stand by.
        faults: What goes wrong with it, in order of time, one thing at a time.
    """

    name: str
    profile: Profile
    engine: EngineSettings
    priority_class: int = 0
    faults: tuple[Fault, ...] = ()

    @property
    def kv_tokens(self) -> int:
        """Give the tokens its KV cache holds, in whole blocks."""
        block_size = self.engine.block_size
        return (self.engine.kv_tokens or self.profile.kv_tokens) // block_size * block_size

    @property
    def limit_tokens(self) -> int:
        """Give the most tokens of one request, prompt and output."""
        return min(self.engine.max_model_len, self.kv_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetSpec:
    """Describe a fleet.

    Attributes:
        name: What it is called in tables.
        model: Model all endpoints serve.
        description: What it stands for.
        scrape_interval_s: Between two scrapes of an endpoint.
        scrape_delay_s: From what a scrape shows to when the scheduler knows.
        network_delay_s: One way between the router and an endpoint.
        shared_tier: KV storage the endpoints share, ``None`` for none.
        endpoints: At least one.
    """

    name: str
    model: str
    description: str
    scrape_interval_s: float
    scrape_delay_s: float
    network_delay_s: float
    shared_tier: SharedTier | None
    endpoints: tuple[EndpointSpec, ...]

    @property
    def limit_tokens(self) -> int:
        """Give the most tokens of one request, prompt and output, that any endpoint takes."""
        return min(endpoint.limit_tokens for endpoint in self.endpoints)


class _Entry(BaseModel):
    """One endpoint in a file, or ``count`` of them, called ``name-0`` and so on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: _Name
    count: int | None = Field(default=None, ge=1, le=1000)
    profile: str
    engine: EngineSettings = EngineSettings()
    priority_class: int = Field(default=0, ge=0, le=100)
    faults: tuple[Fault, ...] = ()

    def endpoints(self, path: str) -> list[EndpointSpec]:
        try:
            timing = profile(self.profile)
            coming = [profile(one.profile) for one in self.faults if isinstance(one, Replace)]
        except UnknownProfile as error:
            raise FleetInvalid(path, f"endpoints.{self.name}.profile: {error}") from error
        for other in coming:
            if other.model != timing.model:
                problem = f"{other.name} is of {other.model}, not of {timing.model}"
                raise FleetInvalid(path, f"endpoints.{self.name}.faults: {problem}")
        faults = tuple(sorted(self.faults, key=lambda fault: fault.at_s))
        for fault, following in pairwise(faults):
            if fault.ends_s is None or fault.ends_s > following.at_s:
                problem = f"{following.kind} begins before {fault.kind} is over"
                raise FleetInvalid(path, f"endpoints.{self.name}.faults: {problem}")
        if self.count is None:
            names = [self.name]
        else:
            names = [f"{self.name}-{number}" for number in range(self.count)]
        return [
            EndpointSpec(
                name=name,
                profile=timing,
                engine=self.engine,
                priority_class=self.priority_class,
                faults=faults,
            )
            for name in names
        ]


class _File(BaseModel):
    """What a fleet file says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str = Field(min_length=1)
    description: str
    scrape_interval_s: float = Field(default=0.2, ge=0.001, le=3600.0)
    """The router's own default."""
    scrape_delay_s: float = Field(default=0.005, ge=0.0, le=3600.0)
    """Building and sending a page of metrics."""
    network_delay_s: float = Field(default=0.001, ge=0.0, le=10.0)
    """Two hops within one data centre, and the HTTP stack."""
    shared_tier: SharedTier | None = None
    endpoints: tuple[_Entry, ...] = Field(min_length=1)


def fleet_names() -> tuple[str, ...]:
    """List the fleets that ship, sorted.

    >>> "ten-qwen3-32b-h100" in fleet_names()
    True
    """
    found = (entry.name for entry in files(_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in found if name.endswith(".toml")))


def load_fleet(name_or_path: str | Path) -> FleetSpec:
    """Load a fleet that ships, by name, or a file.

    Raises:
        UnknownFleet: It is neither; the error lists the names there are.
        FleetInvalid: The file cannot be used.

    >>> len(load_fleet("ten-qwen3-32b-h100").endpoints)
    10
    """
    name = str(name_or_path)
    if name in fleet_names():
        entry = files(_PACKAGE).joinpath(f"{name}.toml")
        return _parse(name, f"{name}.toml", entry.read_text(encoding="utf-8"))
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise UnknownFleet(name, fleet_names())
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise FleetInvalid(str(path), error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise FleetInvalid(str(path), f"is no UTF-8 text: {error}") from error
    return _parse(path.stem, str(path), text)


def _parse(name: str, path: str, text: str) -> FleetSpec:
    try:
        file = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise FleetInvalid(path, str(error)) from error
    except ValidationError as error:
        found = {".".join(map(str, each["loc"])): each["msg"] for each in error.errors()}
        # An endpoint that is refused is missing from the list: that is no other problem.
        problems = [
            f"{place}: {message}"
            for place, message in found.items()
            if not any(other.startswith(f"{place}.") for other in found)
        ]
        raise FleetInvalid(path, "; ".join(problems)) from error
    endpoints = tuple(spec for entry in file.endpoints for spec in entry.endpoints(path))
    _check_together(path, file.model, endpoints)
    return FleetSpec(
        name=name,
        model=file.model,
        description=file.description,
        scrape_interval_s=file.scrape_interval_s,
        scrape_delay_s=file.scrape_delay_s,
        network_delay_s=file.network_delay_s,
        shared_tier=file.shared_tier,
        endpoints=endpoints,
    )


def _check_together(path: str, model: str, endpoints: Iterable[EndpointSpec]) -> None:
    """Refuse what is wrong with endpoints only side by side."""
    names = Counter(endpoint.name for endpoint in endpoints)
    twice = [name for name, times in names.items() if times > 1]
    if twice:
        raise FleetInvalid(path, f"endpoints.name: {', '.join(twice)} is there more than once")
    for endpoint in endpoints:
        if endpoint.profile.model != model:
            problem = f"{endpoint.profile.name} is of {endpoint.profile.model}, not of {model}"
            raise FleetInvalid(path, f"endpoints.{endpoint.name}.profile: {problem}")
    sizes = sorted({endpoint.engine.block_size for endpoint in endpoints})
    if len(sizes) > 1:
        problem = f"engine.block_size: one fleet has one, not {', '.join(map(str, sizes))}"
        raise FleetInvalid(path, problem)
