"""What goes wrong between Envoy and the picker."""

from proxy.errors import ProxyError


class PickerError(ProxyError):
    """Base of what this folder raises."""


class ConnectionViolated(PickerError):
    """The peer broke HTTP/2; the whole connection ends with ``GOAWAY``.

    Attributes:
        code: HTTP/2 error code, RFC 9113 section 7.
    """

    def __init__(self, code: int, message: str) -> None:
        self.code = code
        super().__init__(message)


class CallFailed(PickerError):
    """One gRPC call cannot go on; it ends with a status.

    Attributes:
        status: gRPC status code.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class MessageInvalid(CallFailed):
    """A message is not the protobuf it should be."""

    def __init__(self, message: str) -> None:
        super().__init__(3, message)
