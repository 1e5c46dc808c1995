"""Ask a running Foretoken by its control API, for commands that look at it and change it.

Every failure becomes one line that says what to do: nobody answers, somebody else does, a
key is missing, what was asked about is not there. Answers are read leniently: a command
may be older or newer than the server it asks.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx

from foretoken.errors import NotThere, RouteMissing, ServerUnusable, UrlInvalid

TIMEOUT_S: Final = 10.0
_FOREIGN: Final = "is not Foretoken's control plane; name where it serves with --url"


class ControlClient:
    """Speak to one server; closed by leaving its context.

    Args:
        url: Where it serves; its page under ``/foretoken/`` will do as well.
        api_key: An admin's, ``None`` for none.
        timeout_s: For one answer.

    Raises:
        UrlInvalid: The URL is none.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self.url = base_of(url)
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        # Not through a proxy of the environment: it would answer for the machine it is on.
        self._client = httpx.Client(
            base_url=self.url, timeout=timeout_s, headers=headers, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()

    # Any: JSON; whoever asks knows what it asked for.
    def get(self, *path: str, **query: str | int) -> Any:  # noqa: ANN401
        """Read something; see :meth:`ask` for what it raises."""
        return self.ask("GET", *path, query=query)

    # Any: as above.
    def ask(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:  # noqa: ANN401
        """Send a request and give the JSON of the answer, ``None`` for an empty one.

        Args:
            method: HTTP's.
            path: Parts of the path below ``/foretoken``; a slash in one is kept.
            query: Query parameters.
            body: JSON to send, ``None`` for nothing.

        Raises:
            NotThere: What was asked about does not exist.
            RouteMissing: The server knows no such question.
            ServerUnusable: Nobody answers, or not with what we need.
        """
        target = "/".join(["/foretoken", *(quote(part) for part in path)])
        try:
            answer = self._client.request(method, target, params=query, json=body)
        except httpx.TimeoutException as error:
            raise ServerUnusable(f"no answer from {self.url} in time; is it stuck?") from error
        except httpx.HTTPError as error:
            raise ServerUnusable(
                f"no answer from {self.url}: {_reason(error)}; start it with foretoken serve, or "
                "name where it serves with --url or FORETOKEN_URL"
            ) from error
        return self._read(answer)

    # Any: as above.
    def _read(self, answer: httpx.Response) -> Any:  # noqa: ANN401
        if answer.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            document = answer.json()
        except ValueError as error:
            raise ServerUnusable(f"{self.url} {_FOREIGN}") from error
        if answer.is_success:
            return document
        told = document.get("error") if isinstance(document, dict) else None
        if not isinstance(told, dict):
            raise ServerUnusable(f"{self.url} {_FOREIGN}")
        message = str(told.get("message", "refused without a reason"))
        if answer.status_code == httpx.codes.NOT_FOUND and told.get("code") in _NOT_THERE:
            raise NotThere(message)
        if told.get("code") == "not_found":
            raise RouteMissing(f"{self.url}: {message}")
        if answer.status_code in {401, 403}:
            message += "; an admin's key is read from FORETOKEN_API_KEY"
        raise ServerUnusable(f"{self.url}: {message}")


_NOT_THERE: Final = frozenset({"decision_not_found", "endpoint_not_found", "model_not_found"})


def base_of(url: str) -> str:
    """Give scheme, host and port of where a server was said to be.

    Raises:
        UrlInvalid: They are not in it.

    >>> base_of("127.0.0.1:8000"), base_of("https://router:8443/foretoken/")
    ('http://127.0.0.1:8000', 'https://router:8443')
    """
    whole = url.strip() if "://" in url else f"http://{url.strip()}"
    try:
        parts = urlsplit(whole)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise UrlInvalid(f"{url!r} is not a URL such as http://127.0.0.1:8000")
    return f"{parts.scheme}://{parts.netloc}"


def _reason(error: httpx.HTTPError) -> str:
    """Give the plainest words an error has: those of the operating system, at its bottom.

    >>> _reason(httpx.ConnectError("[Errno 111] Connection refused"))
    'Connection refused'
    """
    text = str(error) or type(error).__name__
    return text.split("] ", 1)[-1] if text.startswith("[Errno") else text
