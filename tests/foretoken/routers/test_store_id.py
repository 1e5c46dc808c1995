"""A store has one name for all who read it, and another store another."""

from pathlib import Path
from threading import Timer

import pytest

from foretoken.routers.outside import own_name, store_id


def test_a_folder_is_the_same_by_whatever_path(tmp_path: Path) -> None:
    folder, other = tmp_path / "models", tmp_path / "other"
    folder.mkdir()
    (tmp_path / "mount").symlink_to(folder)

    first = store_id(folder)

    assert first
    assert store_id(tmp_path / "mount") == store_id(f"file://{folder}") == first
    assert store_id(other) not in {None, first}
    assert sorted(path.name for path in folder.iterdir()) == [".store-id"]


def test_a_folder_without_hard_links_has_one_name_too(tmp_path: Path) -> None:
    def refuse(name: Path, target: Path) -> None:
        raise PermissionError

    first = store_id(tmp_path, link=refuse)

    assert first
    assert store_id(tmp_path, link=refuse) == store_id(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [".store-id"]


def test_a_name_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    mark = tmp_path / ".store-id"
    mark.touch()
    writer = Timer(0.1, mark.write_text, ["0123456789abcdef"])
    writer.start()

    name = store_id(tmp_path)
    writer.join()

    assert name == "0123456789abcdef"


def test_a_url_names_itself() -> None:
    assert store_id("s3://bucket/models") == store_id("s3://bucket/models/")
    assert store_id("s3://bucket/models") != store_id("s3://bucket/others")


def test_what_goes_with_the_process_or_cannot_be_written_is_nobodys(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")

    assert store_id(None) is None
    assert caplog.messages == []
    assert store_id(tmp_path / "file" / "models") is None
    assert caplog.messages == ["store_not_shared"]


def test_names_differ() -> None:
    assert own_name() != own_name()
