"""The whole configuration: every folder's section, composed; one TOML file.

Read at start and on reload. An invalid value stops the start (or leaves the running
configuration in force) with its path, value and bounds.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from collectors import (
    EndpointSettings,
    KvEventSettings,
    ScrapeSettings,
    TokenSettings,
    TraceSettings,
)
from collectors.discovery import DiscoverySource
from foretoken.errors import ConfigurationInvalid
from foretoken.setting_problems import SettingProblem, problems_of
from foretoken.toml_lines import Key, key_lines
from models_store import StoreSettings
from predictor import PredictorSettings
from proxy import ProxySettings, TracingSettings
from proxy.control import ControlSettings
from scheduler import FleetSettings, MissingSignal, SchedulerSettings, Signal, check_signals

# What the service produces as it is built; whether sessions count is the scheduler's to say.
_SIGNALS: Final[frozenset[Signal]] = frozenset(
    {"own_load", "predictions", "prefix_hashes", "prefix_matches", "scraped_load"}
)
_AT: Final = re.compile(r" \(at line (\d+), column \d+\)")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainerSettings(_Section):
    """Configure the process that trains boosted models on the live stream."""

    enabled: bool = True
    """Train while serving. False keeps the version in use."""
    interval_s: float = Field(default=3.0, ge=0.5, le=86_400)
    """Time between two rounds of training, at least. Rounds three times as frequent had up to 28 %
    less TTFT error on recorded rows; a round of a full window costs 1.2 s of CPU, and then the
    share decides (docs/decisions/trainer.md)."""
    cpu_share: Annotated[float, Field(gt=0, le=1)] = 0.25
    """Share of one core it may use; after each training it rests in proportion."""
    max_queued_bytes: int = Field(default=4 * 2**20, ge=2**16, le=2**30)
    """Observations on their way to the trainer; more are dropped and counted, serving never
    waits."""
    restart_s: float = Field(default=1.0, gt=0, le=60)
    """A dead trainer is started again after this long, doubled up to a minute."""


class LogSettings(_Section):
    """Choose how log records are written."""

    format: Literal["auto", "json", "console"] = "auto"
    """"auto": plain lines on a terminal, JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""


class Settings(_Section):
    """Hold everything people can set."""

    endpoints: tuple[EndpointSettings, ...] = ()
    """The vLLM servers: one [[endpoints]] table each."""
    discovery: tuple[DiscoverySource, ...] = ()
    """Where further endpoints are found: one [[discovery]] table each (docs/discovery.md)."""
    leave_s: float = Field(default=600.0, ge=0, le=86_400)
    """An endpoint that leaves gets no further requests, and is forgotten once those it has are
    ended, or after this long: they go on, but nobody looks after them any more."""
    data_dir: Path | None = None
    """Folder for traces and models. Not set: nothing is recorded, and models live as long as the
    process."""
    proxy: ProxySettings = ProxySettings()
    control: ControlSettings = ControlSettings()
    scheduler: SchedulerSettings = SchedulerSettings()
    predictor: PredictorSettings = PredictorSettings()
    scrape: ScrapeSettings = ScrapeSettings()
    kv_events: KvEventSettings = KvEventSettings()
    tokens: TokenSettings = TokenSettings()
    traces: TraceSettings = TraceSettings()
    trainer: TrainerSettings = TrainerSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve; each is one event loop on one core (docs/workers.md)."""
    seed: int | None = None
    """Seed of the generator that breaks ties; not set: one of the system's."""

    @model_validator(mode="after")
    def _endpoints_differ(self) -> Self:
        names = [endpoint.name for endpoint in self.endpoints]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"endpoints given twice: {', '.join(twice)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _sources_differ(self) -> Self:
        names = [source.name for source in self.discovery]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"discovery sources of one name: {', '.join(twice)}; give each its own source"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _bound_addresses_differ(self) -> Self:
        sources = [one.kv_events for one in self.endpoints if one.kv_events is not None]
        bound = [source.address for source in sources if source.bind]
        twice = sorted({address for address in bound if bound.count(address) > 1})
        if twice:
            msg = f"kv_events addresses bound twice: {', '.join(twice)}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _workers_can_all_follow_kv_events(self) -> Self:
        bound = [one for one in self.endpoints if one.kv_events and one.kv_events.bind]
        if self.workers > 1 and bound:
            msg = f"endpoints.kv_events.bind of {bound[0].name}: only one worker can bind it"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _scrapes_come_before_they_count_as_stale(self) -> Self:
        stale_after_s, interval_s = self.scheduler.stale_after_s, self.scrape.interval_s
        if stale_after_s <= 2 * interval_s:
            msg = (
                f"scheduler.stale_after_s = {stale_after_s:g} must be more than twice "
                f"scrape.interval_s = {interval_s:g}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _policies_have_what_they_read(self) -> Self:
        try:
            check_signals(self.scheduler, _SIGNALS)
        except MissingSignal as error:
            msg = f"scheduler.{error}"
            raise ValueError(msg) from error
        return self

    def with_trials(self, model: str | None, trials: Mapping[str, object]) -> "Settings":
        """Give settings with other policies on trial.

        Args:
            model: Whose fleet; ``None`` for all that have none of their own.
            trials: ``shadow`` and ``canary``.

        Raises:
            ConfigurationInvalid: A policy needs what is not produced.
        """
        scheduler = self.scheduler
        if model is None:
            changed = scheduler.model_copy(update=dict(trials))
        else:
            own = scheduler.models.get(model, FleetSettings()).model_copy(update=dict(trials))
            changed = scheduler.model_copy(update={"models": {**scheduler.models, model: own}})
        try:
            check_signals(changed, _SIGNALS)
        except MissingSignal as error:
            raise ConfigurationInvalid("trials", (str(error),)) from error
        return self.model_copy(update={"scheduler": changed})

    @property
    def fleet(self) -> str:
        """Say in a line where endpoints come from.

        >>> Settings(endpoints=(EndpointSettings(url="http://a:1"),)).fleet
        'a:1'
        """
        found = [f"those found by {source.name}" for source in self.discovery]
        return ", ".join([endpoint.name for endpoint in self.endpoints] + found)

    @property
    def store_dir(self) -> Path | None:
        """Give the folder of model versions, ``None`` for a temporary one."""
        if self.store.directory is not None:
            return self.store.directory
        return None if self.data_dir is None else self.data_dir / "models"

    @property
    def trace_dir(self) -> Path | None:
        """Give the folder of traces, ``None`` when nothing is recorded."""
        return None if self.data_dir is None else self.data_dir / "traces"


def load_settings(path: Path | None, **overrides: object) -> Settings:
    """Read a TOML file and lay the prompt's flags over it.

    Args:
        path: The file, ``None`` for defaults.
        overrides: Values by dotted path with ``__`` for the dot (``proxy__port``);
            ``None`` leaves the file's value.

    Raises:
        ConfigurationInvalid: Unreadable, not TOML, or a value out of bounds.
    """
    values, lines = ({}, {}) if path is None else _read(path)
    for name, value in overrides.items():
        if value is not None:
            _lay_over(values, name.split("__"), value)
    source = "command line" if path is None else str(path)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        problems = problems_of(error, values, Settings, lines)
        raise ConfigurationInvalid(source, tuple(map(str, problems)), found=problems) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """Name what settings were read from, so that a reload reads the same again.

    Attributes:
        path: The file.
        overrides: What lies over it, as :func:`load_settings` takes it.
    """

    path: Path
    overrides: Mapping[str, object]

    def load(self) -> Settings:
        """Read the file as it stands now.

        Raises:
            ConfigurationInvalid: It cannot be used.
        """
        return load_settings(self.path, **self.overrides)


def changed_paths(before: BaseModel, after: BaseModel, prefix: str = "") -> list[str]:
    """List the dotted paths of settings that differ.

    >>> changed_paths(Settings(), Settings(seed=1))
    ['seed']
    """
    paths: list[str] = []
    for name in type(before).model_fields:
        old, new = getattr(before, name), getattr(after, name)
        if old == new:
            continue
        if isinstance(old, BaseModel) and type(old) is type(new):
            paths += changed_paths(old, new, f"{prefix}{name}.")
        else:
            paths.append(f"{prefix}{name}")
    return paths


# Any: TOML holds values of every type until the models have validated them.
def _read(path: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Read a file's values, and the line each of its keys stands in."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text), key_lines(text)
    except OSError as error:
        raise _unreadable(path, error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"not UTF-8 text: byte {error.start} is none of it") from error
    except tomllib.TOMLDecodeError as error:
        found = _AT.search(str(error))
        what = _AT.sub("", str(error))
        line = None if found is None else int(found[1])
        raise _unreadable(path, f"not valid TOML: {what}", line) from error


def _unreadable(path: Path, text: str, line: int | None = None) -> ConfigurationInvalid:
    problem = SettingProblem(path="", text=text, line=line)
    return ConfigurationInvalid(str(path), (str(problem),), found=(problem,))


# Any: as above.
def _lay_over(values: dict[str, Any], path: list[str], value: object) -> None:
    first, *rest = path
    if not rest:
        values[first] = value
    elif isinstance(table := values.setdefault(first, {}), dict):  # else validation says so
        _lay_over(table, rest, value)
