"""What can go wrong in the control plane, and the one form in which it says so.

Every error body is OpenAI's ``{"error": {"message", "type", "param", "code"}}``, also
for what FastAPI and Starlette find wrong themselves.
"""

import json
from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.routing import Match

from proxy.control.schemas import ErrorBody, ErrorDetail
from scheduler.errors import ModelNotFound, UnknownTier

_METHODS: Final = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")

# Code and message by status, of what the framework finds wrong; no message: its own.
_TOLD: Final = {
    400: ("invalid_body", "body: it cannot be read as what its content-type says"),
    404: ("not_found", "there is nothing under this path"),
    405: ("method_not_allowed", ""),
    413: ("body_too_large", ""),
}


class ControlError(Exception):
    """Base of everything the control plane refuses.

    Attributes:
        message: One sentence for a person.
        param: The field or path parameter at fault, ``None`` where there is none.
    """

    status = 400
    code = "invalid_request"
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        self.message = message
        self.param = param
        super().__init__(message)


class UnknownEndpoint(ControlError):
    """No endpoint of that name is known here."""

    status = 404
    code = "endpoint_not_found"

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"endpoint {endpoint!r} is not known here", param="endpoint")


class TrialRefused(ControlError):
    """A policy cannot be tried as the service is configured."""

    status = 422
    code = "trial_refused"


class NoEndpointUp(ControlError):
    """No endpoint could take such a request now."""

    status = 503
    code = "no_endpoint"
    type = "service_unavailable"

    def __init__(self, model: str) -> None:
        super().__init__(f"no endpoint is up for model {model!r}", param="model")


class DuplicateEndpoint(ControlError):
    """An endpoint of that name is known already."""

    status = 409
    code = "endpoint_exists"

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"endpoint {endpoint!r} is known already", param="url")


class UnknownDecision(ControlError):
    """No such request is remembered: it never was, still runs, or is too old."""

    status = 404
    code = "decision_not_found"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"no finished request {request_id!r} is remembered; "
            "it may still run or be older than the history",
            param="request_id",
        )


class ReloadRefused(ControlError):
    """The configuration on disk cannot be taken over; the old one stays in force."""

    code = "invalid_configuration"


class ChangeForbidden(ControlError):
    """The caller may look but not change anything."""

    status = 403
    code = "change_forbidden"
    type = "permission_error"


class TooManyRows(ControlError):
    """A call asks for, or brings, more rows than one call may."""

    status = 413
    code = "too_many_rows"

    def __init__(self, rows: int, limit: int, *, param: str) -> None:
        super().__init__(f"{rows} {param} in one call; at most {limit} are taken", param=param)


class TooManyPages(ControlError):
    """As many live pages are open as may be."""

    status = 503
    code = "too_many_pages"
    type = "service_unavailable"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"as many live pages are open as control.max_pages allows ({limit}); close one"
        )


class PredictionUnavailable(ControlError):
    """A library underneath the predictor failed."""

    status = 503
    code = "prediction_failed"
    type = "service_unavailable"


def add_error_handlers(app: FastAPI) -> None:
    """Make ``app`` answer every error in the one form."""

    @app.exception_handler(ControlError)
    async def _control(_: Request, error: ControlError) -> Response:
        return _answer(error.status, error.message, error.type, error.param, error.code)

    @app.exception_handler(ModelNotFound)
    async def _model(_: Request, error: ModelNotFound) -> Response:
        return _answer(404, str(error), "invalid_request_error", "model", "model_not_found")

    @app.exception_handler(UnknownTier)
    async def _tier(_: Request, error: UnknownTier) -> Response:
        return _answer(400, str(error), "invalid_request_error", "tier", "unknown_tier")

    @app.exception_handler(RequestValidationError)
    async def _invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where, text = first["loc"][1:], str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "json_invalid":  # there are no fields, only a place
            where, text = (), f"it is not JSON, from byte {first['loc'][-1]} on"
        param = ".".join(str(part) for part in where) or None
        message = f"{param or 'body'}: {text}"
        return _answer(422, message, "invalid_request_error", param, "invalid_value")

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        status, headers = error.status_code, dict(error.headers or {})
        code, message = _TOLD.get(status, (f"http_{status}", error.detail))
        if status == 405:
            # Of several routes of one path, the framework names the first one's methods.
            headers["allow"] = ", ".join(_allowed(request))
            message = f"this path takes {headers['allow']} only"
        answer = _answer(status, message or error.detail, "invalid_request_error", None, code)
        answer.headers.update(headers)
        return answer

    @app.exception_handler(Exception)
    async def _unexpected(_: Request, __: Exception) -> Response:
        # Starlette raises it again after the answer, so that the server logs it.
        return _answer(500, "internal error", "internal_error", None, "internal_error")


def _allowed(request: Request) -> list[str]:
    """List the methods that the request's path takes."""
    routes = request.app.router.routes
    return [
        method
        for method in _METHODS
        if any(r.matches({**request.scope, "method": method})[0] is Match.FULL for r in routes)
    ]


def _answer(status: int, message: str, kind: str, param: str | None, code: str | None) -> Response:
    body = ErrorBody(error=ErrorDetail(message=message, type=kind, param=param, code=code))
    # In ASCII: what is repeated of a request may hold halves of characters.
    return Response(json.dumps(body.model_dump()), status, media_type="application/json")
