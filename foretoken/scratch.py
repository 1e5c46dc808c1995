"""A folder for as long as a service runs, made before it does."""

import shutil
from contextlib import AbstractContextManager
from tempfile import mkdtemp
from types import TracebackType


class Scratch(AbstractContextManager[str]):
    """Make a folder now and remove it on leaving; one never entered stays, and is empty.

    Attributes:
        name: Its path.
    """

    def __init__(self) -> None:
        self.name = mkdtemp(prefix="foretoken-")

    def __enter__(self) -> str:
        """Give the path."""
        return self.name

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the folder with all in it."""
        shutil.rmtree(self.name, ignore_errors=True)
