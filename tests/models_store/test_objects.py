"""What is of buckets alone: the network, keys, versions half written, writers that slept."""

import logging
import socket
from collections.abc import Iterator

import pytest

from models_store import (
    BrokenVersion,
    ModelsStore,
    StoreNotWritable,
    StoreUnreachable,
    StoreUnusable,
    UnknownVersion,
)
from models_store.objects import Objects
from tests.models_store.places import BucketPlace, Place, s3_keys

FLEET = "m"


def publish(store: ModelsStore, data: bytes = b"{}", *, now: float = 1_000.0) -> str:
    return store.publish(FLEET, data, schema_hash="abc", model_format="t-1", now=now)


@pytest.fixture
def bucket(request: pytest.FixtureRequest, place: Place) -> BucketPlace:
    if not isinstance(place, BucketPlace):
        pytest.skip("of buckets")
    return place


@pytest.fixture
def nobody() -> Iterator[str]:
    """Point S3 clients to a port where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with s3_keys(f"http://127.0.0.1:{taken.getsockname()[1]}"):
            yield "s3://bucket/models"


def test_a_version_is_there_once_its_manifest_is(bucket: BucketPlace) -> None:
    store = ModelsStore(bucket.where)
    first = publish(store, now=1.0)
    unfinished = "20000101T000000.000000Z-00000000"
    bucket.write(f"{FLEET}/versions/{unfinished}/model.json", b"{}")

    assert store.versions(FLEET) == [first]
    with pytest.raises(UnknownVersion):
        store.promote(FLEET, unfinished)
    assert store.verify(FLEET) == []


def test_what_writers_gave_up_is_pruned_and_what_they_write_stays(bucket: BucketPlace) -> None:
    store = ModelsStore(bucket.where)
    newest = publish(store, now=10_000.0)  # 02:46:40
    given_up = f"{FLEET}/versions/19700101T010000.000000Z-00000000/model.json"
    being_written = f"{FLEET}/versions/19700101T020000.000000Z-00000000/model.json"
    bucket.write(given_up, b"{}")
    bucket.write(being_written, b"{}")

    store.prune(FLEET, keep=5)

    assert given_up not in bucket.files()
    assert being_written in bucket.files()
    assert store.versions(FLEET) == [newest]


def test_old_pointers_go(bucket: BucketPlace) -> None:
    store = ModelsStore(bucket.where)

    names = [publish(store, now=float(n)) for n in range(15)]

    assert len([path for path in bucket.files() if "/latest/" in path]) == 10
    assert store.latest(FLEET) == names[-1]
    assert store.rollback(FLEET) == names[-2]


def test_a_writer_that_slept_while_others_wrote_looks_again(bucket: BucketPlace) -> None:
    store, slow = ModelsStore(bucket.where), Objects(str(bucket.where))
    names = [publish(store, now=float(n)) for n in range(3)]
    asked: list[list[str]] = []

    def change(text: bytes | None) -> bytes | None:
        asked.append((text or b"").decode().split())
        if len(asked) == 1:  # it sleeps, and its number has come and gone when it wakes
            names.extend(publish(store, now=float(n)) for n in range(3, 20))
        return f"{names[0]}\n{asked[-1][0]}\n".encode()

    slow.update(FLEET, change)

    assert [seen[0] for seen in asked] == [names[2], names[-1]]
    assert store.latest(FLEET) == names[0]
    assert store.rollback(FLEET) == names[-1]


def test_a_pointer_that_vanishes_between_two_looks_is_looked_for_again(
    bucket: BucketPlace,
) -> None:
    store = ModelsStore(bucket.where)
    version = publish(store)
    bucket.delete(f"{FLEET}/latest/000000000001")

    assert store.latest(FLEET) is None
    store.promote(FLEET, version)
    assert store.latest(FLEET) == version


def test_a_store_that_does_not_answer_is_our_error_without_secrets(
    nobody: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = ModelsStore(nobody)

    with caplog.at_level(logging.DEBUG):
        with pytest.raises(
            StoreUnreachable, match="s3://bucket/models/m/latest: no answer"
        ) as read:
            store.latest(FLEET)
        with pytest.raises(StoreUnreachable):
            publish(store)
        with pytest.raises(StoreUnreachable):
            store.fleets()

    assert "testing" not in str(read.value)


@pytest.mark.usefixtures("s3")
def test_a_bucket_that_does_not_exist_is_named() -> None:
    store = ModelsStore("s3://never-made/models")

    assert store.fleets() == []
    with pytest.raises(StoreNotWritable, match="no such bucket"):
        publish(store)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://key:secret@bucket/models", "keys belong into the environment"),
        ("s3://bucket/models?key=secret", "keys belong into the environment"),
        ("s4://bucket/models", "fsspec knows no s4://"),
        ("gs://bucket/models", "pip install gcsfs"),
        ("s3://", "names no bucket"),
    ],
)
def test_places_that_cannot_be_used_are_refused_and_keys_not_repeated(url: str, why: str) -> None:
    with pytest.raises(StoreUnusable, match=why) as caught:
        ModelsStore(url)

    assert "secret" not in str(caught.value)


def test_a_damaged_model_in_a_bucket_is_named_by_its_url(bucket: BucketPlace) -> None:
    store = ModelsStore(bucket.where)
    path = f"{FLEET}/versions/{publish(store)}/model.json"
    bucket.write(path, b"x")

    with pytest.raises(BrokenVersion) as caught:
        store.load(FLEET)

    assert caught.value.path == f"{bucket.where}/{path}"
