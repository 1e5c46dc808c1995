import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models_store.places import BucketPlace, FolderPlace, Place, s3_keys, s3_server


@pytest.fixture(scope="session")
def s3() -> Iterator[None]:
    with s3_server() as url, s3_keys(url):
        yield


@pytest.fixture(params=["folder", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place for a store, empty, of each kind there is."""
    name = uuid.uuid4().hex
    if request.param == "folder":
        return FolderPlace(tmp_path / "store")
    if request.param == "memory":
        return BucketPlace(f"memory://{name}/models")
    request.getfixturevalue("s3")
    bucket = BucketPlace(f"s3://{name}/models")
    bucket._files.mkdir(name)
    return bucket
