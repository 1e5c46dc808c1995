"""What a store promises, wherever it is: the same battery on each kind of place."""

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_store import (
    BrokenVersion,
    FleetNameInvalid,
    ModelsStore,
    NothingToRollBack,
    SchemaMismatch,
    UnknownVersion,
)
from tests.models_store.places import Place

FLEET = "meta-llama/Llama-3.1-8B"


@pytest.fixture
def store(place: Place) -> ModelsStore:
    return ModelsStore(place.where)


def publish(
    store: ModelsStore,
    data: bytes = b"{}",
    *,
    now: float = 1_000.0,
    fleet: str = FLEET,
    schema_hash: str = "abc",
) -> str:
    return store.publish(fleet, data, schema_hash=schema_hash, model_format="t-1", now=now)


def file_of(place: Place, version: str, name: str) -> str:
    (path,) = [one for one in place.files() if one.endswith(f"/versions/{version}/{name}")]
    return path


def pointer_of(place: Place) -> str:
    return [one for one in place.files() if "/latest" in one][-1]


def test_published_bytes_and_facts_come_back(store: ModelsStore) -> None:
    version = store.publish(
        FLEET,
        b"model",
        schema_hash="abc",
        model_format="t-1",
        now=0.0,
        rows=7,
        window_start_s=1.0,
        window_end_s=2.5,
        metrics={"m": 0.5},
    )

    data, manifest = store.load(FLEET)

    assert data == b"model"
    assert manifest.version == version == store.latest(FLEET)
    assert manifest.created == "1970-01-01T00:00:00+00:00"
    assert (manifest.rows, manifest.window_start_s, manifest.window_end_s) == (7, 1.0, 2.5)
    assert (manifest.size_bytes, manifest.metrics, manifest.parent) == (5, {"m": 0.5}, None)


def test_second_version_is_in_use_and_names_its_parent(store: ModelsStore) -> None:
    first = publish(store, b"1", now=1.0)

    second = publish(store, b"2", now=2.0)

    assert store.versions(FLEET) == [first, second]
    assert store.latest(FLEET) == second
    assert store.manifest(FLEET).parent == first


def test_same_bytes_at_the_same_time_get_two_names(store: ModelsStore) -> None:
    names = {publish(store), publish(store), publish(store)}

    assert len(names) == 3


def test_fleets_are_apart_and_keep_their_names(store: ModelsStore) -> None:
    publish(store, b"a", fleet="org/a")
    publish(store, b"b", fleet="..")

    assert store.fleets() == ["..", "org/a"]
    assert store.load("..")[0] == b"b"
    assert store.latest("org/never") is None


@given(fleet=st.text(min_size=1, max_size=20))
def test_any_fleet_name_is_one_folder_below_the_root(
    tmp_path_factory: pytest.TempPathFactory, fleet: str
) -> None:
    root = tmp_path_factory.mktemp("store")
    try:
        fleet.encode()
    except UnicodeEncodeError:
        return

    publish(ModelsStore(root), b"x", fleet=fleet)

    assert ModelsStore(root).fleets() == [fleet]
    assert len(list(root.iterdir())) == 1


@pytest.mark.parametrize("fleet", ["", "x" * 256])
def test_impossible_fleet_names_are_refused(store: ModelsStore, fleet: str) -> None:
    with pytest.raises(FleetNameInvalid):
        publish(store, fleet=fleet)


def test_other_feature_schema_is_refused_naming_both(store: ModelsStore) -> None:
    publish(store, schema_hash="old1")

    with pytest.raises(SchemaMismatch, match=r"old1.*new2"):
        store.load(FLEET, schema_hash="new2")


def test_unknown_versions_and_paths_are_refused(store: ModelsStore) -> None:
    with pytest.raises(UnknownVersion):
        store.load(FLEET)
    publish(store)

    with pytest.raises(UnknownVersion):
        store.load(FLEET, "../../elsewhere")
    with pytest.raises(UnknownVersion):
        store.promote(FLEET, "20000101T000000.000000Z-00000000")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("model.json", b"modex", "checksum"),
        ("model.json", b"mod", "3 bytes"),
        ("model.json", None, "No such file|no such object"),
        ("manifest.json", b"{", "truncated"),
        ("manifest.json", b'{"version": 1}', "Expected `str`"),
    ],
)
def test_damaged_files_are_named_and_never_loaded(
    store: ModelsStore, place: Place, name: str, content: bytes | None, reason: str
) -> None:
    path = file_of(place, publish(store, b"model"), name)
    place.delete(path)
    if content is not None:
        place.write(path, content)

    with pytest.raises(BrokenVersion, match=reason) as caught:
        store.load(FLEET)

    assert caught.value.path == place.named(path)
    assert [problem.path for problem in store.verify(FLEET)] == [place.named(path)]


def test_a_version_without_its_manifest_is_not_loaded(store: ModelsStore, place: Place) -> None:
    place.delete(file_of(place, publish(store, b"model"), "manifest.json"))

    with pytest.raises(BrokenVersion):
        store.load(FLEET)

    assert len(store.verify(FLEET)) == 1


def test_manifest_of_another_version_is_refused(store: ModelsStore, place: Place) -> None:
    first, second = publish(store, b"1", now=1.0), publish(store, b"2", now=2.0)
    manifest = place.read(file_of(place, first, "manifest.json"))
    place.write(file_of(place, second, "manifest.json"), manifest)

    with pytest.raises(BrokenVersion, match=first):
        store.load(FLEET)


def test_verify_is_silent_on_a_whole_store(store: ModelsStore) -> None:
    publish(store, b"1")
    publish(store, b"2")

    assert store.verify(FLEET) == []
    assert store.verify("org/never") == []


def test_promote_then_rollback_returns_to_what_was_in_use(store: ModelsStore) -> None:
    first, second, third = (publish(store, bytes([n]), now=float(n)) for n in (1, 2, 3))

    store.promote(FLEET, first)

    assert store.latest(FLEET) == first
    assert store.rollback(FLEET) == third
    assert store.rollback(FLEET) == second
    assert store.rollback(FLEET) == first
    with pytest.raises(NothingToRollBack):
        store.rollback(FLEET)


def test_rollback_skips_what_was_pruned(store: ModelsStore) -> None:
    first, second, third = (publish(store, bytes([n]), now=float(n)) for n in (1, 2, 3))
    store.promote(FLEET, first)

    pruned = store.prune(FLEET, keep=2)

    assert pruned == [second]
    assert store.rollback(FLEET) == third
    assert store.rollback(FLEET) == first


def test_rollback_works_when_the_version_in_use_is_broken(store: ModelsStore, place: Place) -> None:
    first, second = publish(store, b"1", now=1.0), publish(store, b"2", now=2.0)
    place.write(file_of(place, second, "manifest.json"), b"")

    assert store.rollback(FLEET) == first


def test_broken_version_is_not_promoted(store: ModelsStore, place: Place) -> None:
    first, second = publish(store, b"1", now=1.0), publish(store, b"2", now=2.0)
    place.write(file_of(place, first, "model.json"), b"9")

    with pytest.raises(BrokenVersion):
        store.promote(FLEET, first)

    assert store.latest(FLEET) == second


def test_prune_keeps_the_newest_and_the_one_in_use(store: ModelsStore) -> None:
    names = [publish(store, bytes([n]), now=float(n)) for n in range(6)]
    store.promote(FLEET, names[0])

    store.prune(FLEET, keep=3)

    assert store.versions(FLEET) == [names[0], names[4], names[5]]
    assert store.latest(FLEET) == names[0]


def test_prune_keeps_what_was_in_use_before_however_old(store: ModelsStore) -> None:
    names = [publish(store, bytes([n]), now=float(n)) for n in range(5)]
    store.promote(FLEET, names[0])
    newest = publish(store, b"new", now=9.0)

    store.prune(FLEET, keep=2)

    assert store.versions(FLEET) == [names[0], newest]
    assert store.rollback(FLEET) == names[0]


def test_a_version_that_is_being_deleted_is_not_put_in_use(
    store: ModelsStore, place: Place
) -> None:
    names = [publish(store, bytes([n]), now=float(n)) for n in range(3)]
    before = {path: place.read(path) for path in place.files()}
    assert store.prune(FLEET, keep=1) == names[:2]

    for path, data in before.items():  # as if the deletion had only just begun
        if names[0] in path:
            place.write(path, data)

    with pytest.raises(UnknownVersion):
        store.promote(FLEET, names[0])
    assert store.latest(FLEET) == names[2]
    assert store.prune(FLEET, keep=1) == [names[0]]
    assert [path for path in place.files() if names[0] in path] == []


def test_a_fleet_that_does_not_exist_is_not_made_by_asking(store: ModelsStore) -> None:
    with pytest.raises(NothingToRollBack):
        store.rollback("typo")
    pruned = store.prune("typo", keep=1)

    assert pruned == []
    assert store.fleets() == []


def test_broken_pointer_is_named_and_repaired_by_promotion(
    store: ModelsStore, place: Place
) -> None:
    version = publish(store)
    place.write(pointer_of(place), b"latest and greatest")

    with pytest.raises(BrokenVersion, match="latest"):
        store.latest(FLEET)
    problems = store.verify(FLEET)
    store.promote(FLEET, version)

    (problem,) = problems
    assert place.named(pointer_of(place)).startswith(problem.path)
    assert store.latest(FLEET) == version


def test_pointer_to_a_missing_version_is_named(store: ModelsStore, place: Place) -> None:
    publish(store)
    place.write(pointer_of(place), b"20000101T000000.000000Z-00000000\n")

    with pytest.raises(BrokenVersion, match="not there"):
        store.load(FLEET)


def test_writers_in_parallel_lose_nothing_and_readers_see_only_whole_versions(
    place: Place,
) -> None:
    if str(place.where).startswith("memory:"):
        pytest.skip("the memory of a test creates files in two steps")
    publish(ModelsStore(place.where), b"0")
    seen: list[bytes] = []

    def write(writer: int) -> None:
        store = ModelsStore(place.where)
        for index in range(3):
            publish(store, json.dumps([writer, index]).encode(), now=float(index))
            seen.append(store.load(FLEET)[0])

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    store = ModelsStore(place.where)
    assert len(store.versions(FLEET)) == 13
    assert len(seen) == 12
    assert store.verify(FLEET) == []
    assert len(place.read(pointer_of(place)).split()) == 13
