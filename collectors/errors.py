"""What can go wrong while collecting, one class per thing a caller does about it."""

from pathlib import Path
from typing import Literal

ScrapeFailure = Literal["refused", "timeout", "status", "too_large", "crashed"]
"""Why an endpoint could not be read: no connection or no HTTP, too slow, not 200 or in an
encoding nobody asked for, too long, our bug."""


class CollectorsError(Exception):
    """Any failure of the collectors."""


class ScrapeFailed(CollectorsError):
    """An endpoint did not answer with what was asked for.

    Attributes:
        url: What was asked.
        reason: Why there is no answer.
    """

    def __init__(self, url: str, reason: ScrapeFailure) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        self.reason: ScrapeFailure = reason


class EndpointUnusable(CollectorsError):
    """What a source found cannot be an endpoint.

    Attributes:
        at: Where it was said to be.
        reason: Why not.
    """

    def __init__(self, at: str, reason: str) -> None:
        super().__init__(f"{at}: {reason}")
        self.at = at
        self.reason = reason


class PackageNeeded(CollectorsError):
    """What is configured needs a package that is not installed.

    Attributes:
        extra: Of ours that brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more: pip install 'foretoken[{extra}]'")
        self.extra = extra


class KvEventsUnreadable(CollectorsError):
    """A published batch of KV events is in no encoding this code knows."""


class TokenizerUnusable(CollectorsError):
    """A configured tokenizer cannot be loaded.

    Attributes:
        path: The file.
        reason: Why.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class TextNotTokenized(CollectorsError):
    """A loaded tokenizer failed on one text: that one goes on without tokens."""


class UnknownEndpoint(CollectorsError):
    """No endpoint of that name is watched.

    Attributes:
        name: The name asked for.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"no endpoint {name!r}")
        self.name = name


class TraceUnreadable(CollectorsError):
    """A file is not a trace this code can read.

    Attributes:
        path: The file.
        reason: What is wrong with it.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class ListUnreadable(CollectorsError):
    """A list of endpoints is none, or names something that is no endpoint."""
