import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.models_store.places import BucketPlace, FolderPlace, Place, files_of, s3_keys, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """Run a server for all tests, and give a client of it."""
    with s3_server() as url, s3_keys(url):
        yield files_of("s3")


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place for a store, empty, of each kind there is."""
    name = uuid.uuid4().hex
    if request.param == "folder":
        return FolderPlace(tmp_path / "store")
    if request.param == "memory":
        return BucketPlace(f"memory://{name}/models", files_of("memory"))
    files = request.getfixturevalue("s3")
    files.mkdir(name)
    return BucketPlace(f"s3://{name}/models", files)
