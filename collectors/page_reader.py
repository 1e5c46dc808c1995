"""Read ``/metrics`` over connections that stay open: five times a second, of everyone.

A client of general use costs more than all that is done with a page, so this one knows a
single request: ``GET /metrics`` over HTTP/1.1. It follows no redirect, asks for nothing
compressed and takes nothing compressed.
Bodies come by length, in chunks, or until the connection ends.

Invariants: a connection carries one request at a time and is kept only after a complete
answer; one that its endpoint closed meanwhile is replaced once, unnoticed; an answer is
bounded in bytes and time, and so is connecting. Called by the scraper.
"""

import asyncio
import ssl
from typing import Final, cast
from urllib.parse import urlsplit

import httptools

from collectors.errors import ScrapeFailed, ScrapeFailure
from collectors.settings import ScrapeSettings

_PORTS: Final = {"http": 80, "https": 443}
_OK: Final = 200


class PageReader:
    """Hold a connection to every endpoint that was read; :meth:`close` ends them.

    Args:
        settings: How long and how much to wait for.
        tls: Whom to believe behind ``https://``; those the system does where ``None``.
    """

    def __init__(self, settings: ScrapeSettings, tls: ssl.SSLContext | None = None) -> None:
        self._settings = settings
        self._idle: dict[str, _Connection] = {}
        self._tls = tls

    async def read(self, base_url: str, api_key: str | None = None) -> bytes:
        """Read one endpoint's page.

        Args:
            base_url: ``scheme://host[:port]``, as settings have it.
            api_key: Sent along, for endpoints behind something that wants one; a key that
                is not printable ASCII is sent to nobody.

        Raises:
            ScrapeFailed: There is no page, and why.
        """
        request = _request(base_url, api_key)
        kept = self._idle.pop(base_url, None)
        if kept is not None and kept.kept:
            try:
                return await self._ask(base_url, kept, request)
            except ScrapeFailed as error:
                if kept.heard or error.reason == "timeout":
                    raise  # it is there: only one that is gone is replaced
        return await self._ask(base_url, await self._connect(base_url), request)

    def forget(self, base_url: str) -> None:
        """Close the connection to an endpoint that is read no more."""
        kept = self._idle.pop(base_url, None)
        if kept is not None:
            kept.close()

    def close(self) -> None:
        """Close every connection that waits."""
        for base_url in list(self._idle):
            self.forget(base_url)

    async def _ask(self, base_url: str, connection: "_Connection", request: bytes) -> bytes:
        try:
            return await connection.ask(request, self._settings.timeout_s)
        finally:
            if not connection.kept or self._idle.setdefault(base_url, connection) != connection:
                connection.close()

    async def _connect(self, base_url: str) -> "_Connection":
        url = urlsplit(base_url)
        connection = _Connection(_page_url(base_url), self._settings.max_page_bytes)
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: cast("asyncio.Protocol", connection),  # by its methods
                    url.hostname or "",
                    url.port or _PORTS[url.scheme],
                    ssl=self._context() if url.scheme == "https" else None,
                )
        except OSError as error:
            reason: ScrapeFailure = "timeout" if isinstance(error, TimeoutError) else "refused"
            failed = ScrapeFailed(_page_url(base_url), reason)
            failed.__cause__ = error  # compiled code drops what follows "from"
            raise failed from error
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


class _Connection:
    """One connection, and the answer that is coming in; also its parser's callbacks.

    Attributes:
        heard: Whether any byte of the present answer has come in.
        kept: Whether another request may follow: the last answer was whole, and nothing
            ended the connection since.
    """

    def __init__(self, url: str, most_bytes: int) -> None:
        self.heard = False
        self.kept = False
        self._url = url
        self._most_bytes = most_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[bytes] | None = None
        self._lost = False
        self._begin()

    async def ask(self, request: bytes, limit_s: float) -> bytes:
        """Send a request and give the page, if it comes in time.

        Raises:
            ScrapeFailed: There is none, and why.
        """
        if self._transport is None or self._lost:
            raise ScrapeFailed(self._url, "refused")
        self.heard = self.kept = False
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[bytes] = loop.create_future()
        self._waiting = waiting
        late = loop.call_later(limit_s, self._fail, "timeout")
        try:
            self._transport.write(request)
            return await waiting
        finally:
            late.cancel()
            self._waiting = None

    def close(self) -> None:
        """End the connection, whatever is under way."""
        self.kept = False
        if self._transport is not None:
            self._transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take in the transport."""
        self._transport = cast("asyncio.Transport", transport)  # what TCP and TLS give

    def data_received(self, data: bytes) -> None:
        """Take in what has come; whatever nobody asked for ends the connection."""
        if self._answered:
            self.close()
            return
        self.heard = True
        self._bytes += len(data)
        if self._bytes > self._most_bytes:
            self._fail("too_large")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("refused")

    def eof_received(self) -> None:
        """Let the transport close, which tells :meth:`connection_lost`."""

    def pause_writing(self) -> None:
        """Ignore that a request waits to be taken: nothing is written beside it."""

    def resume_writing(self) -> None:
        """Ignore likewise that it is taken."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer: well where its body lasts as long as the connection."""
        self._lost, self.kept = True, False
        if exc is None and self._status >= _OK and not self._framed:
            self._end()
        else:
            self._fail("refused")

    # Called by the parser

    def on_message_begin(self) -> None:
        """End the connection where an answer follows the one that was asked for."""
        if self._answered:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note how the body is framed and whether it is encoded."""
        match name.lower():
            case b"content-length" | b"transfer-encoding":
                self._framed = True
            case b"content-encoding":
                self._encoded = value.strip().lower() not in {b"", b"identity"}

    def on_headers_complete(self) -> None:
        """Note the status."""
        self._status = self._parser.get_status_code()

    def on_body(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(data)

    def on_message_complete(self) -> None:
        """Give the answer, unless it only announced that one will come."""
        if self._status < _OK:
            self._begin(self._bytes)
        elif not self._answered:
            self.kept = self._parser.should_keep_alive()
            self._end()

    @property
    def _answered(self) -> bool:
        return self._waiting is None or self._waiting.done()

    def _begin(self, heard_bytes: int = 0) -> None:
        self._bytes = heard_bytes
        self._status = 0
        self._framed = self._encoded = False
        self._parts: list[bytes] = []

    def _end(self) -> None:
        if self._status != _OK or self._encoded:
            self._fail("status")
            return
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._begin()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(body)

    def _fail(self, reason: ScrapeFailure) -> None:
        self._begin()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ScrapeFailed(self._url, reason))


def _request(base_url: str, api_key: str | None) -> bytes:
    """Write the request.

    Raises:
        ScrapeFailed: The key cannot stand in a header.
    """
    key = ""
    if api_key is not None:
        if not (api_key.isascii() and api_key.isprintable()):
            raise ScrapeFailed(_page_url(base_url), "refused")
        key = f"authorization: Bearer {api_key}\r\n"
    host = base_url.partition("://")[2]
    return (
        f"GET /metrics HTTP/1.1\r\nhost: {host}\r\n{key}accept: text/plain\r\n"
        "accept-encoding: identity\r\nuser-agent: foretoken\r\n\r\n"
    ).encode("ascii", "replace")


def _page_url(base_url: str) -> str:
    return f"{base_url}/metrics"
