"""What commands that run in the tests' own process leave behind, taken away."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def logging_ends_with_the_test() -> Iterator[None]:
    """Leave no log that writes to the standard error of a test that is over."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
