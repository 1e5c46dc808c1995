"""Where models are kept, as written in a file, and as told to another process."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from models_store.settings import StoreSettings


@pytest.mark.parametrize("place", ["/data/models", "file:///data/models", "s3://bucket/models"])
def test_a_process_that_is_told_reads_what_was_written(place: str) -> None:
    settings = StoreSettings.model_validate({"directory": place})

    told = StoreSettings.model_validate_json(settings.model_dump_json())

    assert told == settings
    assert told.directory == (place if place.startswith("s3") else Path("/data/models"))


def test_keys_are_refused_and_not_shown() -> None:
    with pytest.raises(ValidationError, match="keys belong into the environment"):
        StoreSettings.model_validate({"directory": "s3://key:hunter2@bucket/models"})
