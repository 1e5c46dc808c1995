"""Files that are replaced, written in place, cut short, removed, and in every form."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.discovery.drafts import Drafts
from collectors.discovery.files import MOST_BYTES, FileSource
from collectors.discovery.lists import read_list
from collectors.discovery.settings import FileDiscovery
from collectors.errors import ListUnreadable
from collectors.settings import EndpointSettings
from tests.collectors.discovery.sources import Counts, Rests, nothing, told_by

SD = '[{"targets": ["10.0.0.1:8000", "10.0.0.2:8000"], "labels": {"foretoken_hardware": "l4"}}]'
DRAFTS = Drafts(FileDiscovery(files=("x",), port=8000))


def read(text: str, *, yaml: bool = False) -> list[EndpointSettings]:
    return read_list(text.encode(), DRAFTS, yaml=yaml)


def replace(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


def source(pattern: Path | str, counts: Counts, *steps: object) -> FileSource:
    return FileSource(
        FileDiscovery(files=(str(pattern),)),
        counts.health(),
        sleep=Rests(*steps),  # type: ignore[arg-type]  # steps are callables
    )


def test_the_form_of_prometheus_is_read_with_its_labels() -> None:
    endpoints = read(SD)

    assert [one.name for one in endpoints] == ["10.0.0.1:8000", "10.0.0.2:8000"]
    assert {one.hardware for one in endpoints} == {"l4"}


def test_our_own_form_has_all_settings_of_an_endpoint() -> None:
    (endpoint,) = read(
        '[{"url": "https://[::1]:9000", "max_seqs": 64, "role": "prefill",'
        ' "labels": {"foretoken.dev/hardware": "l4", "foretoken.dev/max_seqs": "1"}}]'
    )

    assert endpoint.name == "[::1]:9000"
    assert (endpoint.max_seqs, endpoint.role, endpoint.hardware) == (64, "prefill", "l4")


def test_yaml_says_the_same_as_json() -> None:
    text = "- targets: ['10.0.0.1:8000', '10.0.0.2:8000']\n  labels: {foretoken_hardware: l4}\n"

    assert read(text, yaml=True) == read(SD)


def test_strings_are_targets_or_urls_and_the_first_of_a_name_counts() -> None:
    endpoints = read('["b", "https://a:1", "http://a:1"]')

    assert [one.url for one in endpoints] == ["http://b:8000", "https://a:1"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("{}", "a list is expected"),
        ("[1]", "item 0: a URL or a table"),
        ('[{"labels": {}}]', "a table needs url"),
        ('[{"targets": [7]}]', "a target is host:port"),
        ('["a:1", "a:1/v1"]', "item 1: a:1/v1"),
        ('["a:x"]', "item 0: a:x"),
        ('[{"url": "http://a:1", "max_seqs": 0}]', "max_seqs"),
        ('[{"url": "http://a:1", "api_key_env": "HOME"}]', "belongs into the configuration"),
        ('[{"url": "http://a:1", "kv_events": {"address": "tcp://*:1", "bind": true}}]', "bind"),
    ],
)
def test_what_is_no_list_of_endpoints_says_where(text: str, problem: str) -> None:
    with pytest.raises(ListUnreadable, match=problem):
        read(text)


@pytest.mark.parametrize("text", ["a: [", "!!python/object/apply:os.system ['true']", "{a: 1}", ""])
def test_yaml_that_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(ListUnreadable):
        read(text, yaml=True)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_bytes_of_any_kind_are_a_list_or_refused(text: bytes, yaml: bool) -> None:
    try:
        endpoints = read_list(text, DRAFTS, yaml=yaml)
    except ListUnreadable:
        return
    assert all(isinstance(one, EndpointSettings) for one in endpoints)


def test_a_file_beyond_all_bounds_is_not_read(tmp_path: Path) -> None:
    path, counts = tmp_path / "a.json", Counts()
    path.write_text('["a:1"]')
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(MOST_BYTES + 1)

    told = told_by(source(path, counts, lambda: large.replace(path), nothing))

    assert told == [["a:1"]]
    assert set(counts.failures) == {"invalid"}


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ListUnreadable, match="hardwar: unknown setting"):
        read('[{"url": "http://10.0.0.1:8000", "hardwar": "l4"}]')


def test_a_file_put_in_place_of_another_is_believed_at_once(tmp_path: Path) -> None:
    path, counts = tmp_path / "a.json", Counts()
    path.write_text('["a:1"]')

    told = told_by(source(path, counts, lambda: replace(path, '["a:1", "b:1"]'), nothing))

    assert told == [["a:1"], ["a:1", "b:1"]]
    assert not counts.failures


def test_a_file_written_in_place_is_read_once_it_rests(tmp_path: Path) -> None:
    path, counts = tmp_path / "a.yaml", Counts()
    path.write_text("- a:1\n- b:1\n")

    told = told_by(
        source(
            path,
            counts,
            lambda: path.write_text("- b:1\n"),  # of a list still to be written
            lambda: path.write_text("- b:1\n- c:1\n"),
            nothing,
            nothing,
        )
    )

    assert told == [["a:1", "b:1"], ["b:1", "c:1"]]


def test_half_a_file_keeps_the_last_good_list_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    path, counts = tmp_path / "a.json", Counts()
    path.write_text('["a:1"]')

    told = told_by(
        source(
            path,
            counts,
            lambda: replace(path, '["a:1", "b:'),
            nothing,
            lambda: replace(path, '["b:1"]'),
            nothing,
        )
    )

    assert told == [["a:1"], ["b:1"]]
    assert counts.failures == ["invalid", "invalid"]
    events = [one.message for one in caplog.records if one.name.startswith("collectors")]
    assert events == ["discovery_failed", "discovery_recovered"]


def test_an_empty_list_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('["a:1"]')

    assert told_by(source(path, Counts(), lambda: replace(path, "[]"), nothing)) == [["a:1"], []]


def test_a_named_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    path, counts = tmp_path / "a.json", Counts()
    path.write_text('["a:1"]')

    told = told_by(source(path, counts, path.unlink, *[nothing] * 5))

    assert told == [["a:1"]]
    assert set(counts.failures) == {"unreadable"}


def test_nothing_is_told_before_anything_was_read(tmp_path: Path) -> None:
    counts = Counts()

    assert told_by(source(tmp_path / "never.json", counts, nothing)) == []
    assert counts.heard_times == 0


def test_a_file_of_a_pattern_that_stays_away_takes_its_endpoints_with_it(tmp_path: Path) -> None:
    one, other = tmp_path / "a.json", tmp_path / "b.json"
    one.write_text('["a:1"]')
    other.write_text('["b:1"]')

    told = told_by(source(tmp_path / "*.json", Counts(), other.unlink, *[nothing] * 4))

    assert told == [["a:1", "b:1"], ["a:1"]]


def test_a_file_of_a_pattern_written_anew_never_leaves(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('["a:1"]')

    told = told_by(
        source(
            tmp_path / "*.json", Counts(), path.unlink, lambda: path.write_text('["a:1"]'), nothing
        )
    )

    assert told == [["a:1"]]


def test_a_folder_that_cannot_be_listed_keeps_what_was_in_it(tmp_path: Path) -> None:
    folder, counts = tmp_path / "fleet", Counts()
    folder.mkdir()
    (folder / "a.json").write_text('["a:1"]')
    away = tmp_path / "away"

    told = told_by(source(folder / "*.json", counts, lambda: folder.rename(away), *[nothing] * 5))

    assert told == [["a:1"]]
    assert set(counts.failures) == {"unreadable"}


def test_a_config_map_is_swapped_as_a_whole(tmp_path: Path) -> None:
    """Kubernetes mounts a folder by a link that it puts in place of another."""
    for name, text in (("1", '["a:1"]'), ("2", '["b:1"]')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fleet.json").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to("1")
    (tmp_path / "fleet.json").symlink_to("..data/fleet.json")

    def swap() -> None:
        (tmp_path / "tmp").symlink_to("2")
        os.replace(tmp_path / "tmp", data)  # noqa: PTH105  # of a link, as kubelet does

    told = told_by(source(tmp_path / "fleet.json", Counts(), swap, nothing))

    assert told == [["a:1"], ["b:1"]]


def test_a_source_that_runs_again_tells_again(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(["a:1"]))
    again = source(path, Counts())

    assert told_by(again) == [["a:1"]]
    assert told_by(again) == [["a:1"]]


def test_credentials_in_a_list_are_never_repeated() -> None:
    for text in (
        '["http://user:hunter2@10.0.0.1:8000"]',
        '[{"targets": ["user:hunter2@10.0.0.1:8000"]}]',
        '[{"url": "http://user:hunter2@10.0.0.1:8000/x"}]',
    ):
        with pytest.raises(ListUnreadable, match="credentials") as refused:
            read(text)
        assert "hunter2" not in str(refused.value)


def test_a_file_that_was_too_long_for_a_while_is_read_again(tmp_path: Path) -> None:
    path, counts = tmp_path / "fleet.json", Counts()
    replace(path, SD)
    found = source(path, counts)
    first = found.look()

    replace(path, " " * (MOST_BYTES + 1))
    while_long = found.look()
    replace(path, SD)

    assert first is not None
    assert first == while_long == found.look()
    assert counts.failures == ["invalid"]
