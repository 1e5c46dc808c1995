"""A folder for as long as a service runs, made before it does where it needs one."""

import shutil
from contextlib import ExitStack
from functools import cached_property
from tempfile import mkdtemp
from weakref import finalize


class Scratch(ExitStack):
    """Make a folder when it is first asked for; remove it on leaving, or with this object."""

    @cached_property
    def name(self) -> str:
        """Give the folder's path."""
        name = mkdtemp(prefix="foretoken-")
        # tempfile's own folders warn where one is dropped that was never entered.
        self.callback(finalize(self, shutil.rmtree, name, ignore_errors=True))
        return name
