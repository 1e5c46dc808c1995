"""Where versions are kept and how many."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidatorFunctionWrapHandler, WrapValidator

from models_store.place import NO_KEYS, Place, holds_keys, is_url, path_of


def _place(value: object, otherwise: ValidatorFunctionWrapHandler) -> object:
    """Read a text; workers get settings as JSON, whose own reading knows no folder made here."""
    if not isinstance(value, str):
        return otherwise(value)
    if holds_keys(value):
        raise ValueError(NO_KEYS)
    return value if is_url(value) else path_of(value)


class StoreSettings(BaseModel):
    """Configure the models store."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Annotated[Place, WrapValidator(_place)] | None = None
    """Folder of all fleets, created at the first publish, or a bucket that several machines
    share, as `s3://bucket/models` (docs/model-store.md). Not set: `models` in `data_dir`."""

    keep: int = Field(default=20, ge=1, le=10_000)
    """Versions kept per fleet: at one refit every few seconds,
    a minute or two to roll back by."""
