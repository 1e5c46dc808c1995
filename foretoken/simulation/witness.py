"""Who looks on while a run is played, without a say in it.

Called by the virtual-time driver; implemented by benchmarks that record what passes.
"""

from typing import Protocol

from predictor.types import RequestRecord
from scheduler import Dispatch


class Witness(Protocol):
    """Be told what happens to requests, in order of virtual time."""

    def dispatched(self, action: Dispatch, now: float) -> None:
        """Note that a request leaves for an endpoint, which it reaches a network delay later."""
        ...

    def first_token(self, request_id: str, now: float) -> None:
        """Note that a request's first token has come to the router."""
        ...

    def ended(self, record: RequestRecord, now: float) -> None:
        """Note that a request is over."""
        ...
