"""Error bodies as llm-d's servers write them: FastAPI's own ``{"detail": ...}``."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from proxy.control.errors import ControlError


class LlmdRoute(APIRoute):
    """A route whose errors have the form its callers know, not the control plane's."""

    # Any: FastAPI's own signature.
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler: errors become answers here."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return _refusal(422, error.errors())
            except ValidationError as error:  # of a body that a handler read itself
                return _refusal(422, _in_body(error))
            except ControlError as error:
                return _refusal(error.status, error.message)

        return answer


def too_long(field: str, count: int, limit: int) -> RequestValidationError:
    """Say that a list has too many items, as its schema would."""
    return RequestValidationError(
        [
            {
                "type": "too_long",
                "loc": ("body", field),
                "msg": f"List should have at most {limit} items after validation, not {count}",
                "ctx": {"field_type": "List", "max_length": limit, "actual_length": count},
            }
        ]
    )


def _in_body(error: ValidationError) -> list[dict[str, object]]:
    # What is no JSON would come back whole.
    empty: dict[str, object] = {"input": {}}
    return [
        {
            **each,
            "loc": ("body", *each["loc"]),
            **(empty if each["type"] == "json_invalid" else {}),
        }
        for each in error.errors(include_url=False)
    ]


def _refusal(status: int, detail: object) -> Response:
    told = {"detail": jsonable_encoder(detail)}
    try:  # of a NaN that was sent, msgspec makes null; the standard library would raise
        body = msgspec.json.encode(told)
    except UnicodeEncodeError:  # halves of characters, which only the standard library takes
        plain = json.loads(json.dumps(told), parse_constant=lambda _: None)
        body = json.dumps(plain).encode()
    return Response(body, status_code=status, media_type="application/json")
