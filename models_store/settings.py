"""Where versions are kept and how many."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class StoreSettings(BaseModel):
    """Configure the models store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path | None = None
    """Folder of all fleets, created at the first publish; ``None`` for one of the caller's."""

    keep: int = Field(default=20, ge=1, le=10_000)
    """Versions kept per fleet: at one refit every few seconds,
    a minute or two to roll back by."""
