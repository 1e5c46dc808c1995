"""What somebody may have meant who wrote a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name that is most like one that is not, ``None`` if none is like it.

    >>> nearest("lmetrik", ["round_robin", "lmetric"]), nearest("best", ["lmetric"])
    ('lmetric', None)
    """
    folded = {one.casefold(): one for one in known}
    wanted = name.casefold().replace("-", "_")
    found = get_close_matches(wanted, folded, n=1) or get_close_matches(name, folded, n=1)
    if found:
        return folded[found[0]]
    longer = [one for one in folded if one.startswith(wanted)] if len(wanted) > 1 else []
    return folded[min(longer)] if longer else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give the question to put behind an error, empty where nothing is like the name.

    >>> did_you_mean("max_atempts", ["max_attempts"]), did_you_mean("x", ["max_attempts"])
    ('; did you mean max_attempts?', '')
    """
    meant = nearest(name, known)
    return "" if meant is None else f"; did you mean {meant}?"
