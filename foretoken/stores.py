"""A store of models by the name people give it, with errors for people."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from foretoken.errors import ForetokenError, StoreRefused
from models_store import ModelsStore, ModelsStoreError, Place, StoreUnusable

log = logging.getLogger(__name__)


def open_store(place: Place) -> ModelsStore:
    """Open a store; asks nothing of the network yet.

    Raises:
        StoreRefused: No models can be kept there.
    """
    try:
        return ModelsStore(place)
    except StoreUnusable as error:
        raise StoreRefused(str(error)) from error


@contextmanager
def store_errors() -> Iterator[None]:
    """Let a command end with one line where its store fails.

    Raises:
        ForetokenError: It did.
    """
    try:
        yield
    except ModelsStoreError as error:
        raise ForetokenError(str(error)) from error


def stored_fleets(store: ModelsStore) -> list[str]:
    """Name the fleets in a store at start; none where it cannot say, which harms nobody."""
    try:
        return store.fleets()
    except ModelsStoreError as error:
        log.warning("store_unreachable", extra={"problem": str(error)})
        return []
