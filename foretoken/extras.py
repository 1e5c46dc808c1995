"""Whether the packages are there that a command alone needs; nothing of them is loaded."""

from collections.abc import Iterable
from importlib.util import find_spec

from foretoken.errors import ExtraMissing


def check_installed(problem: str, names: Iterable[str], *, extra: str) -> None:
    """Find out whether packages are installed, and say which extra brings them.

    Raises:
        ExtraMissing: One is not.

    >>> check_installed("this needs nothing", ["json"], extra="none")
    """
    try:
        found = all(find_spec(name) is not None for name in names)
    except ModuleNotFoundError:  # what a name is in is missing
        found = False
    if not found:
        raise ExtraMissing(f"{problem}: pip install 'foretoken[{extra}]'")
