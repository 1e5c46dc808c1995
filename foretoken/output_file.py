"""Files that a command writes when its work is done: whole, or not at all.

Decides that a file which cannot be written is found out before the work, as far as that
can be known, and that a full disk costs one line and leaves what was there as it was.
"""

import os
from contextlib import suppress
from pathlib import Path

from foretoken.errors import FileNotWritable


def why_not_writable(path: Path) -> str | None:
    """Say why a file cannot be written, ``None`` if nothing is known against it."""
    folder = path.parent
    if path.is_dir():
        return f"{path} is a folder"
    if not folder.is_dir():
        return f"{folder} is not a folder"
    target = path if path.exists() else folder
    return None if os.access(target, os.W_OK) else f"{target} cannot be written to"


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; one that is there keeps its content unless all of the other is written.

    Raises:
        FileNotWritable: It cannot be written, or the disk is full.
    """
    replaces = path.is_file() or not path.exists()  # and not what a shell redirects to
    target = path.with_name(f".{path.name}.{os.getpid()}.tmp") if replaces else path
    try:
        target.write_bytes(content)
        if replaces:
            target.replace(path)
    except OSError as error:
        if replaces:
            with suppress(OSError):  # it may not even have been made
                target.unlink()
        raise FileNotWritable(f"{path}: {error.strerror or error}") from error
