"""No body is read beyond a bound, and whoever sends more is told so in the one error form."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proxy.answers import send_error
from proxy.errors import BodyTooLarge, to_response


class BodyBound:
    """Bound request bodies; an ASGI application around another one.

    Args:
        app: Answers requests whose bodies fit.
        most_bytes: Of one body.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        told = dict(scope["headers"]).get(b"content-length", b"")
        refusal = BodyTooLarge(self._most_bytes)
        if told.isdigit() and int(told[:20]) > self._most_bytes:
            await send_error(send, to_response(refusal))
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most_bytes:  # its length was not told
                raise HTTPException(413, str(refusal))
            return message

        await self._app(scope, counted, send)
