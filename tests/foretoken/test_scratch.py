"""No folder is left behind, whether it was used or not."""

import gc
from pathlib import Path

from foretoken.scratch import Scratch


def test_leaving_removes_the_folder_with_all_in_it() -> None:
    with Scratch() as scratch:
        folder = Path(scratch.name)
        (folder / "file").touch()

    assert not folder.exists()


def test_a_folder_never_entered_goes_with_who_made_it() -> None:
    scratch = Scratch()
    folder = Path(scratch.name)
    assert folder.is_dir()

    del scratch
    gc.collect()

    assert not folder.exists()
