"""What is of a folder alone: leftovers of crashes, full disks, folders in the way."""

import resource
import shutil
from pathlib import Path

import pytest

from models_store import BrokenVersion, ModelsStore, StoreNotWritable
from models_store.folder import Folder

FLEET = "meta-llama/Llama-3.1-8B"


@pytest.fixture
def store(tmp_path: Path) -> ModelsStore:
    return ModelsStore(tmp_path)


def publish(store: ModelsStore, data: bytes = b"{}", *, now: float = 1_000.0) -> str:
    return store.publish(FLEET, data, schema_hash="abc", model_format="t-1", now=now)


def folder_of(root: Path, version: str) -> Path:
    return next(root.glob(f"*/versions/{version}"))


def test_half_written_version_is_invisible_and_pruned(store: ModelsStore, tmp_path: Path) -> None:
    version = publish(store)
    leftover = folder_of(tmp_path, version).parent / f".{version}.tmp"
    leftover.mkdir()
    (leftover / "model.json").write_bytes(b"half")

    seen = store.versions(FLEET)
    store.prune(FLEET, keep=1)

    assert seen == [version]
    assert not leftover.exists()


def test_half_written_pointer_is_pruned(store: ModelsStore, tmp_path: Path) -> None:
    version = publish(store)
    leftover = folder_of(tmp_path, version).parents[1] / ".latest.1234.tmp"
    leftover.write_text("half")

    store.prune(FLEET, keep=1)

    assert not leftover.exists()
    assert store.latest(FLEET) == version


def test_what_another_process_has_pruned_meanwhile_is_no_longer_deleted(
    store: ModelsStore, tmp_path: Path
) -> None:
    versions = [publish(store, now=1_000.0 + number) for number in range(3)]
    folder = Folder(tmp_path)
    (fleet,) = folder.fleets()

    shutil.rmtree(folder_of(tmp_path, versions[0]))
    folder.remove(fleet, versions[:2])

    assert store.versions(FLEET) == versions[2:]


def test_a_missing_manifest_is_named(store: ModelsStore, tmp_path: Path) -> None:
    path = folder_of(tmp_path, publish(store)) / "manifest.json"
    path.unlink()

    with pytest.raises(BrokenVersion, match="No such file") as caught:
        store.load(FLEET)

    assert caught.value.path == str(path)


def test_a_folder_may_be_written_as_a_url(tmp_path: Path) -> None:
    version = publish(ModelsStore(f"file://{tmp_path}/my%20models"))

    assert ModelsStore(tmp_path / "my models").latest(FLEET) == version


def test_unwritable_root_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreNotWritable, match="file"):
        publish(ModelsStore(tmp_path / "file"))


def test_a_publish_that_the_disk_refuses_leaves_nothing_behind(
    store: ModelsStore, tmp_path: Path
) -> None:
    first = publish(store, now=1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreNotWritable):
            publish(store, b"x" * 5000, now=2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert [path.name for path in tmp_path.glob("*/versions/*")] == [first]
    assert store.latest(FLEET) == first
