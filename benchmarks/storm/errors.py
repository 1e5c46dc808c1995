"""What ends a storm without a result."""

from foretoken.errors import ForetokenError


class StormFailed(ForetokenError):
    """The storm cannot be had."""


class NotThere(StormFailed):
    """A server does not do what a scene needs: start, answer, end."""


class NotBack(StormFailed):
    """After a fault something is not as it was before."""
