"""When a serving process looks for garbage: seldom, and not among what it was built of."""

import gc
from typing import Final

_YOUNG_OBJECTS: Final = 20_000
"""Made and alive before the collector looks at them: some five hundred requests' worth, which
are gone by then. By default it looks every twenty requests, at objects that are all in use."""


def settle() -> None:
    """Keep what there is for as long as the process lives, and look at the rest seldom.

    Requests leave no cycles behind; what else does is little and can wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
