from pathlib import Path

import pytest

from foretoken.errors import FileNotWritable
from foretoken.output_file import why_not_writable, write_whole

LONG = "x" * 250
"""A name that a file may have, and with anything more may not."""


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text("before")

    write_whole(path, b"after")

    assert path.read_bytes() == b"after"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_content_where_the_other_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / LONG
    path.write_text("before")

    with pytest.raises(FileNotWritable, match="name too long"):
        write_whole(path, b"after")

    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_written_to_and_not_replaced() -> None:
    write_whole(Path("/dev/null"), b"figures")

    assert not Path("/dev/null").is_file()


def test_what_stands_against_writing_is_known_before(tmp_path: Path) -> None:
    assert why_not_writable(tmp_path / "figures.json") is None
    assert why_not_writable(tmp_path) == f"{tmp_path} is a folder"
    absent = tmp_path / "absent"
    assert why_not_writable(absent / "figures.json") == f"{absent} is not a folder"
