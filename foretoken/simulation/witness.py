"""Who looks on while a run is played, without a say in it.

Called by the virtual-time driver; extended by benchmarks that record what passes.
"""

from predictor.types import RequestRecord
from scheduler import Dispatch


class Witness:
    """Be told what happens to requests, in order of virtual time; by itself, ignore it."""

    def dispatched(self, action: Dispatch, now: float) -> None:
        """Note that a request leaves for an endpoint, which it reaches a network delay later."""

    def first_token(self, request_id: str, now: float) -> None:
        """Note that a request's first token has come to the router."""

    def progressed(self, request_id: str, tokens: int, last_s: float, now: float) -> None:
        """Note that the router has taken an early TPOT label of a stream.

        Args:
            request_id: Which.
            tokens: It had shown by then.
            last_s: When the last of them came.
            now: When the router was told.
        """

    def ended(self, record: RequestRecord, now: float) -> None:
        """Note that a request is over."""
