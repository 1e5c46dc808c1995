"""What stands between a request and its decision: access, limits, the response cache.

The data path asks a gate twice: when a request's headers are read and its body is not
(:meth:`Gate.admit`), and when the request is read and not yet placed
(:meth:`Gate.consider`). The interface belongs to the data path, which calls it; without
anything configured there is :class:`OpenGate`.
"""

from typing import Protocol

from predictor.values import Value
from proxy.errors import ErrorResponse
from proxy.http_request import RequestHead
from proxy.incoming import IncomingRequest
from proxy.reply import Reply, ReplyHead


class Admission(Value):
    """Let a request in.

    Attributes:
        tenant: Whom it is served for where it does not say so itself.
        dropped: Further headers that do not go to endpoints, in lower case.
    """

    tenant: str | None = None
    dropped: frozenset[bytes] = frozenset()


ADMITTED = Admission()


class Serving(Protocol):
    """Whoever is answering a request; its client connection tells it what happens there."""

    def client_gone(self) -> None:
        """Take that nobody reads any more."""
        ...

    def hold_back(self) -> None:
        """Take that the client reads slowly: bring nothing more for now."""
        ...

    def go_on(self) -> None:
        """Take that it reads again."""
        ...

    def tick(self, now: float) -> None:
        """Take the time, about once a second, on the data path's clock."""
        ...

    def shut_down(self) -> None:
        """End now, whatever is going on: the server stops."""
        ...


class Tap(Protocol):
    """See a response as it goes to the client, content only.

    Attributes:
        lines: Header lines that the response gets besides its own.
    """

    lines: bytes

    @property
    def wanted(self) -> bool:
        """Tell whether somebody else waits for the response: it goes on without its client."""
        ...

    def started(self, head: ReplyHead) -> None:
        """Take status, headers and, where known, length."""
        ...

    def passed(self, data: bytes) -> None:
        """Take a piece of the body."""
        ...

    def ended(self, *, whole: bool) -> None:
        """Take the end, once: also of a request that never got an answer."""
        ...


class Passed(Value):
    """Let a request go to the scheduler.

    Attributes:
        request: As it goes on, changed or not.
        tap: Sees its response, ``None`` for nobody.
    """

    request: IncomingRequest
    tap: Tap | None = None


class Gate(Protocol):
    """Decide about requests before the scheduler does."""

    def admit(self, head: RequestHead) -> Admission | ErrorResponse:
        """Let a request in or refuse it, by its headers; its body may still be coming."""
        ...

    def consider(
        self, head: RequestHead, request: IncomingRequest, reply: Reply
    ) -> Passed | ErrorResponse | Serving:
        """Let a request pass, refuse it, or answer it by oneself.

        Returns:
            ``Serving`` of whoever answers through ``reply``, which may be ended already:
            then nothing is routed, booked or recorded.
        """
        ...


class OpenGate:
    """Let everything pass."""

    def admit(self, head: RequestHead) -> Admission | ErrorResponse:  # noqa: ARG002  # interface
        """Let it in."""
        return ADMITTED

    def consider(
        self,
        head: RequestHead,  # noqa: ARG002  # interface
        request: IncomingRequest,
        reply: Reply,  # noqa: ARG002  # interface
    ) -> Passed | ErrorResponse | Serving:
        """Let it pass."""
        return Passed(request=request)
