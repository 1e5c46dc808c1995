"""What goes wrong on the data path, and the one table from that to HTTP.

Pure folders raise errors that know no HTTP; :func:`to_response` is the only place
that gives them a status and an OpenAI error body.
"""

import math
from dataclasses import dataclass
from typing import Final

import msgspec

from scheduler.actions import Shed, ShedReason
from scheduler.errors import ModelNotFound, UnknownTier


class ProxyError(Exception):
    """Base of everything this folder raises."""


class BadRequest(ProxyError):
    """The request itself is wrong and no endpoint would do better with it.

    Attributes:
        param: Header or body field at fault, ``None`` when it is the whole.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.param = param
        super().__init__(message)


class BadHeader(BadRequest):
    """A header that this proxy reads has a value it cannot have.

    Attributes:
        header: Its name.
        value: What it said.
    """

    def __init__(self, header: str, value: str, expected: str) -> None:
        self.header = header
        self.value = value
        super().__init__(f"header {header}: {value!r} is not {expected}", param=header)


class ContextExceeded(BadRequest):
    """More output is asked for than the model's context has room for beside the prompt.

    Attributes:
        asked_tokens: The bound on output.
        prompt_tokens: Of the prompt, counted, or the fewest it can have.
        context_tokens: What there is for both.
    """

    def __init__(
        self, asked_tokens: int, prompt_tokens: int, context_tokens: int, *, exact: bool
    ) -> None:
        self.asked_tokens = asked_tokens
        self.prompt_tokens = prompt_tokens
        self.context_tokens = context_tokens
        about = "" if exact else "at least "
        super().__init__(
            f"the model's context has {context_tokens} tokens; the prompt takes {about}"
            f"{prompt_tokens} and up to {asked_tokens} are asked for as output: ask for fewer",
            param="max_tokens",
        )


class BodyTooLarge(ProxyError):
    """The request body is longer than allowed.

    Attributes:
        limit_bytes: The bound.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"request body is larger than {limit_bytes} bytes")


class BodyTooDeep(ProxyError):
    """The JSON of a body is nested deeper than the interpreter follows, about 1,000 levels."""

    def __init__(self) -> None:
        super().__init__("the JSON of the request body is nested too deep")


class HeadTooLarge(ProxyError):
    """Request line and headers are longer, or more, than allowed."""

    def __init__(self, what: str) -> None:
        super().__init__(f"request head is too large: {what}")


class RequestTooSlow(ProxyError):
    """The client began a request and did not send the rest of it in time."""

    def __init__(self) -> None:
        super().__init__("the request did not arrive in time")


class TooManyConnections(ProxyError):
    """As many clients are connected as may be."""

    def __init__(self) -> None:
        super().__init__("too many connections")


class UnknownPath(ProxyError):
    """Nothing is served under this path.

    Attributes:
        method: The request's method.
        path: The request's path.
    """

    def __init__(self, method: str, path: str) -> None:
        self.method = method
        self.path = path
        super().__init__(f"no route for {method} {path}")


class KeysUnusable(ProxyError):
    """The configured API keys cannot be used; says where and why, never a key.

    Attributes:
        source: File or environment.
    """

    def __init__(self, source: str, problem: str) -> None:
        self.source = source
        super().__init__(f"API keys of {source}: {problem}")


class NotAuthenticated(ProxyError):
    """A request comes without a key, or with one that is not known."""


class RateLimited(ProxyError):
    """The holder of a key has asked for as much as it may.

    Attributes:
        what: ``requests`` or ``tokens``.
        per_minute: The bound.
        retry_after_s: When there is room again, ``None`` where nobody can tell.
    """

    def __init__(self, what: str, per_minute: int, retry_after_s: float | None) -> None:
        self.what = what
        self.per_minute = per_minute
        self.retry_after_s = retry_after_s
        super().__init__(f"this API key may use {per_minute} {what} per minute, and has")


class ShuttingDown(ProxyError):
    """This router stops, and the request has not ended in the time it may still take."""

    def __init__(self) -> None:
        super().__init__("the router is shutting down")


class UpstreamError(ProxyError):
    """An endpoint failed.

    Attributes:
        url: Its base URL.
    """

    def __init__(self, url: str, message: str) -> None:
        self.url = url
        super().__init__(f"{url}: {message}")


class UpstreamUnreachable(UpstreamError):
    """No connection could be made: the request has not reached the endpoint."""


class UpstreamBroken(UpstreamError):
    """The connection broke, or what came over it is not HTTP."""


class UpstreamDown(UpstreamError):
    """The endpoint was found dead or hung while a request was there."""


class UpstreamSilent(UpstreamError):
    """The endpoint has said nothing for longer than allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorResponse:
    """Hold an HTTP answer to a failure.

    Attributes:
        status: HTTP status.
        message: For people.
        type: OpenAI's error type.
        param: Header or field at fault.
        code: OpenAI's error code, or our reason.
        headers: Headers that belong to it.
    """

    status: int
    message: str
    type: str
    param: str | None = None
    code: str | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def lines(self) -> bytes:
        """Give its header lines, but for the length."""
        own = b"".join([b"%b: %b\r\n" % header for header in self.headers])
        return b"content-type: application/json\r\n" + own

    @property
    def body(self) -> bytes:
        """Give the OpenAI error body, JSON."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )


def to_response(error: Exception) -> ErrorResponse:
    """Give the HTTP answer to an error of ours or of the scheduler.

    Raises:
        Exception: The error itself, when it is none that a client can cause.

    >>> to_response(UnknownPath("GET", "/nope")).status
    404
    """
    match error:
        case BadRequest():
            return _invalid(400, error, param=error.param)
        case UnknownTier():
            return _invalid(400, error, param="x-slo-tier", code="unknown_tier")
        case ModelNotFound():
            return _invalid(404, error, param="model", code="model_not_found")
        case NotAuthenticated():
            return _invalid(
                401, error, code="invalid_api_key", headers=((b"www-authenticate", b"Bearer"),)
            )
        case RateLimited():
            return _rate_limited(error)
        case UnknownPath() | RequestTooSlow() | BodyTooLarge() | BodyTooDeep() | HeadTooLarge():
            status, code = _INVALID[type(error)]
            return _invalid(status, error, code=code)
        case ShuttingDown() | TooManyConnections():
            return _unavailable(error, _UNAVAILABLE[type(error)])
        case UpstreamError():
            return _endpoint_failed(error)
        case _:
            raise error


_INVALID: Final[dict[type[ProxyError], tuple[int, str]]] = {
    UnknownPath: (404, "not_found"),
    RequestTooSlow: (408, "request_timeout"),
    BodyTooLarge: (413, "body_too_large"),
    BodyTooDeep: (400, "body_too_deep"),
    HeadTooLarge: (431, "head_too_large"),
}
_UNAVAILABLE: Final[dict[type[ProxyError], str]] = {
    ShuttingDown: "shutting_down",
    TooManyConnections: "too_many_connections",
}


def _invalid(
    status: int,
    error: Exception,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> ErrorResponse:
    return ErrorResponse(
        status=status,
        message=str(error),
        type="invalid_request_error",
        param=param,
        code=code,
        headers=headers,
    )


def _rate_limited(error: RateLimited) -> ErrorResponse:
    name = error.what.encode()
    headers = [
        (b"x-ratelimit-limit-" + name, b"%d" % error.per_minute),
        (b"x-ratelimit-remaining-" + name, b"0"),
    ]
    if error.retry_after_s is not None:
        wait = b"%d" % max(1, math.ceil(error.retry_after_s))
        headers += [(b"retry-after", wait), (b"x-ratelimit-reset-" + name, wait + b"s")]
    return ErrorResponse(
        status=429,
        message=str(error),
        type=error.what,
        code="rate_limit_exceeded",
        headers=tuple(headers),
    )


def _endpoint_failed(error: UpstreamError) -> ErrorResponse:
    silent = isinstance(error, UpstreamSilent)
    what = "did not answer in time" if silent else "failed while answering"
    return ErrorResponse(
        status=504 if silent else 502,
        message=f"the endpoint {what}",
        type="server_error",
        code="upstream_timeout" if silent else "upstream_error",
    )


def _unavailable(error: Exception, code: str) -> ErrorResponse:
    return ErrorResponse(
        status=503,
        message=str(error),
        type="server_error",
        code=code,
        headers=((b"retry-after", b"1"),),
    )


# Status, llm-d's drop reason and the text for each way to be refused.
_SHED: Final[dict[ShedReason, tuple[int, bytes, str]]] = {
    "objective_infeasible": (
        429,
        b"rejected-saturated",
        "no endpoint is predicted to meet the latency objective",
    ),
    "queue_full": (429, b"rejected-saturated", "too many requests wait for an endpoint"),
    "tenant_queue_full": (
        429,
        b"rejected-saturated",
        "too many requests of this tenant wait for an endpoint",
    ),
    "queue_timeout": (503, b"rejected-ttl-expired", "no endpoint became available in time"),
    "no_endpoint": (503, b"rejected-no-endpoints", "no endpoint is available"),
    "retries_exhausted": (503, b"rejected-no-endpoints", "every endpoint that was tried failed"),
    "retry_budget_exhausted": (
        503,
        b"rejected-no-endpoints",
        "the endpoint failed, and too many requests are being tried again already",
    ),
}


def shed_response(shed: Shed) -> ErrorResponse:
    """Give the HTTP answer to a request that the scheduler refused."""
    status, dropped, message = _SHED[shed.reason]
    headers = [(b"x-llm-d-request-dropped-reason", dropped)]
    if shed.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(shed.retry_after_s))))
    return ErrorResponse(
        status=status,
        message=message,
        type="rate_limit_error" if status == 429 else "server_error",
        code=shed.reason,
        headers=tuple(headers),
    )
