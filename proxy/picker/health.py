"""The gRPC health service, as load balancers, Envoy and Kubernetes ask for it.

Alive as long as it answers; ready while there is somebody to pick and it does not drain.
Source: grpc/health/v1/health.proto.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import StringValue

from proxy.picker.call import Call
from proxy.picker.errors import MessageInvalid
from proxy.picker.questions import SERVICE

CHECK: Final = "/grpc.health.v1.Health/Check"
WATCH: Final = "/grpc.health.v1.Health/Watch"
_NOT_FOUND: Final = 5  # gRPC status


class Serving(IntEnum):
    """What is said of a service; the values are the protocol's."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3

    @property
    def message(self) -> bytes:
        """Encode it as a ``HealthCheckResponse``."""
        return b"\x08%c" % self


class Health:
    """Know how the services are, and tell whoever watches.

    Args:
        ready: Whether there is an endpoint to pick.
    """

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready
        self._draining = False
        self._watches: dict[_Watch, Serving] = {}

    def of(self, service: str) -> Serving:
        """Say how a service is; ``""`` is the server as a whole."""
        match service:
            case "liveness":
                return Serving.SERVING
            case "" | "readiness":
                return self._serving(self._ready() and not self._draining)
            case service if service == SERVICE:
                return self._serving(not self._draining)
            case _:
                return Serving.SERVICE_UNKNOWN

    def drain(self) -> None:
        """Say from now on that no further requests are wanted."""
        self._draining = True
        self.tell()
        for watch in list(self._watches):
            watch.call.finish()

    def tell(self) -> None:
        """Tell those who watch what has changed."""
        for watch, before in list(self._watches.items()):
            now = self.of(watch.service)
            if now != before:
                self._watches[watch] = now
                watch.call.send(now.message)

    def check(self, call: Call) -> "_Check":
        """Give the handler of a call of ``Check``."""
        return _Check(self, call)

    def watch(self, call: Call) -> "_Watch":
        """Give the handler of a call of ``Watch``."""
        return _Watch(self, call)

    def began(self, watch: "_Watch") -> None:
        """Take in one who watches."""
        now = self._watches[watch] = self.of(watch.service)
        watch.call.send(now.message)

    def left(self, watch: "_Watch") -> None:
        """Forget one who watched."""
        self._watches.pop(watch, None)

    def _serving(self, yes: bool) -> Serving:  # noqa: FBT001  # it is what is asked
        return Serving.SERVING if yes else Serving.NOT_SERVING


class _Check:
    def __init__(self, health: Health, call: Call) -> None:
        self._health = health
        self._call = call

    def message(self, data: bytes) -> None:
        serving = self._health.of(_service_of(data))
        if serving == Serving.SERVICE_UNKNOWN:
            self._call.finish(_NOT_FOUND, "unknown service")
        else:
            self._call.send(serving.message)
            self._call.finish()

    def half_closed(self) -> None:
        """Nothing to do: the answer was sent at once."""

    def ended(self) -> None:
        """Nothing to do."""


class _Watch:
    def __init__(self, health: Health, call: Call) -> None:
        self._health = health
        self.call = call
        self.service = ""

    def message(self, data: bytes) -> None:
        self.service = _service_of(data)
        self._health.began(self)

    def half_closed(self) -> None:
        """Nothing to do: it has asked, and goes on listening."""

    def ended(self) -> None:
        self._health.left(self)


def _service_of(data: bytes) -> str:
    try:  # the two have the same form: one text, as their first field
        service: str = StringValue.FromString(data).value
    except DecodeError as error:
        raise MessageInvalid(f"not a HealthCheckRequest: {error}") from error
    return service
