"""What the supervisor tells a worker when it starts it: one line of JSON."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from foretoken.settings import ConfigFile, Settings
from scheduler import SchedulerSettings

LEAST_CACHE_BYTES: Final = 2**16
"""The least that the settings allow a response cache to hold."""


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """Tell a worker who it is and what it serves.

    Attributes:
        worker: Its number, from 0 on.
        restarted: Whether one of this number died before.
        settings: All of them, as JSON.
        config_path: Where they were read from, ``None`` for nowhere.
        overrides: What lies over the file.
        folder: Of the sockets between workers.
        table: Descriptor of the shared table.
        listener: Descriptor of the listening socket.
        epoch_offset_s: Added to the monotonic clock gives the one all workers share.
    """

    worker: int
    restarted: bool
    settings: str
    config_path: str | None
    overrides: dict[str, object]
    folder: str
    table: int
    listener: int
    epoch_offset_s: float

    def line(self) -> bytes:
        """Write it."""
        return msgspec.json.encode(self, enc_hook=str) + b"\n"

    @classmethod
    def read(cls, line: bytes) -> "Spec":
        """Read it."""
        return msgspec.json.decode(line, type=cls)

    def config(self) -> ConfigFile | None:
        """Give what a reload reads."""
        if self.config_path is None:
            return None
        return WorkerConfigFile(path=Path(self.config_path), overrides=self.overrides)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfigFile(ConfigFile):
    """Read the configuration as it is for one of several workers."""

    def load(self) -> Settings:
        """Read the file as it stands now.

        Raises:
            ConfigurationInvalid: It cannot be used.
        """
        return divided(ConfigFile(path=self.path, overrides=self.overrides).load())


def divided(settings: Settings) -> Settings:
    """Give what one worker's settings are: bounds of the whole are divided among all.

    >>> divided(Settings(workers=4)).scheduler.max_waiting_requests
    250

    One answer may still be kept by each, however small its share of the response cache.
    """
    scheduler = divided_scheduler(settings.scheduler, settings.workers)
    cache = settings.proxy.response_cache
    share_bytes = max(cache.max_bytes // settings.workers, cache.max_entry_bytes, LEAST_CACHE_BYTES)
    proxy = settings.proxy.model_copy(
        update={"response_cache": cache.model_copy(update={"max_bytes": share_bytes})}
    )
    return settings.model_copy(update={"scheduler": scheduler, "proxy": proxy})


def divided_scheduler(scheduler: SchedulerSettings, workers: int) -> SchedulerSettings:
    """Give one worker's share of the scheduler's bounds."""
    floor_per_s = scheduler.retries.floor_per_s / workers
    shares = {
        "max_waiting_requests": -(-scheduler.max_waiting_requests // workers),
        "max_waiting_bytes": -(-scheduler.max_waiting_bytes // workers),
        # All workers learn from each of them.
        "learned_requests_per_s": scheduler.learned_requests_per_s / workers,
        "retries": scheduler.retries.model_copy(update={"floor_per_s": floor_per_s}),
    }
    return scheduler.model_copy(update=shares)
