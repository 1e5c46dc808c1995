"""How a benchmark ends: with its result, or with one line that says why there is none."""

import sys
from collections.abc import Callable

from foretoken.errors import ForetokenError


def run(main: Callable[[], int]) -> None:
    """Run a benchmark's command and end the process with its exit status."""
    try:
        status = main()
    except ForetokenError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        status = 2
    except KeyboardInterrupt:
        print("stopped; what was finished is kept", file=sys.stderr)
        status = 130
    sys.exit(status)
