"""Answers of our own: small JSON and text responses, errors in OpenAI's form."""

from starlette.types import Send

from proxy.errors import ErrorResponse


async def send_answer(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes = b"application/json",
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Send a whole response."""
    lines = [
        (b"content-type", content_type),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def send_error(send: Send, error: ErrorResponse, request_id: str | None = None) -> None:
    """Send an error, with the id of the request it belongs to."""
    headers = error.headers
    if request_id is not None:
        headers = (*headers, (b"x-request-id", request_id.encode()))
    await send_answer(send, error.status, error.body, headers=headers)
