"""Speak to a Kubernetes API server: lists in pages, and one watch at a time.

Credentials, TLS and token rotation are lightkube's. Its own watch is not used: it asks for
no bookmarks, waits for ever on a connection that is dead, and asks again without pause
where a server ends watches at once (lightkube 1.0.1).
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Generic

import anyio
import httpx2
import msgspec
import yaml
from lightkube.config import client_adapter, kubeconfig
from lightkube.config.models import User
from lightkube.core.exceptions import ConfigError

from collectors.discovery.kubernetes_events import (
    ApiFailed,
    Event,
    I,
    read_event,
    read_page,
    refusal,
)
from collectors.discovery.settings import KubernetesDiscovery

PAGE_OBJECTS: Final = 250
MOST_PAGES: Final = 400  # a hundred thousand objects
MOST_LIST_BYTES: Final = 64 << 20
"""A page of pods has some 5 MB."""

MOST_EVENT_BYTES: Final = 4 << 20
"""An object has at most 1.5 MB: etcd takes no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Generic[I]):
    """Name some objects of one kind.

    Attributes:
        group: API group and version in a path: ``api/v1``.
        plural: As in a path.
        kind: What they are read as.
        labels: Selector, ``None`` for all.
        name: The only one wanted, ``None`` for all.
    """

    group: str
    plural: str
    kind: type[I]
    labels: str | None = None
    name: str | None = None

    def path(self, namespace: str) -> str:
        """Give the path of the collection in a namespace."""
        return f"/{self.group}/namespaces/{namespace}/{self.plural}"

    def query(self) -> dict[str, str]:
        """Give what selects them."""
        selected = {} if self.labels is None else {"labelSelector": self.labels}
        named = {} if self.name is None else {"fieldSelector": f"metadata.name={self.name}"}
        return {**selected, **named}


class ApiServer:
    """Ask one API server.

    Args:
        client: Knows where it is and who we are.
        namespace: Where everything asked for is.
        timeout_s: For the beginning of an answer, and for a whole list.
    """

    def __init__(self, client: httpx2.AsyncClient, namespace: str, timeout_s: float) -> None:
        self.namespace = namespace
        self._client = client
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def list_all(self, collection: Collection[I]) -> tuple[list[I], str]:
        """Give all objects, and the version they were read at.

        Raises:
            ApiFailed: Not all of them could be read.
        """
        query = {**collection.query(), "limit": str(PAGE_OBJECTS)}
        found: list[I] = []
        for _ in range(MOST_PAGES):
            body = await self._page(collection.path(self.namespace), query)
            page = read_page(body, collection.kind)
            found += page.items
            if not page.further:
                return found, page.version
            query["continue"] = page.further
        raise ApiFailed("invalid", f"more than {MOST_PAGES} pages of {collection.plural}")

    async def watch(
        self, collection: Collection[I], version: str, limit_s: float
    ) -> AsyncGenerator[list[Event[I]], None]:
        """Give what happens after a version, as it comes, until the server ends the watch.

        Args:
            collection: What to watch.
            version: Of the last thing known.
            limit_s: The server is asked to end it after so long; one that says nothing much
                longer than that is taken to be gone.

        Raises:
            ApiFailed: It broke off; what was given until then holds.
        """
        query = {
            **collection.query(),
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": f"{max(limit_s, 1.0):.0f}",
        }
        timeout = httpx2.Timeout(self._timeout_s, read=limit_s + self._timeout_s)
        path = collection.path(self.namespace)
        async with (
            self._answer(path, query, timeout) as response,
            aclosing(lines_of(response)) as parts,
        ):
            async for lines in parts:
                yield [read_event(line, collection.kind) for line in lines]

    async def _page(self, path: str, query: dict[str, str]) -> bytes:
        body = bytearray()
        try:
            with anyio.fail_after(self._timeout_s):  # not asyncio's: see collectors.deadline
                async with self._answer(path, query, httpx2.Timeout(self._timeout_s)) as response:
                    async for part in response.aiter_bytes():
                        body += part
                        if len(body) > MOST_LIST_BYTES:
                            problem = f"a page of more than {MOST_LIST_BYTES} bytes"
                            raise ApiFailed("invalid", problem)
        except TimeoutError as error:
            raise ApiFailed("timeout", f"no whole answer in {self._timeout_s:g} s") from error
        return bytes(body)

    @asynccontextmanager
    async def _answer(
        self, path: str, query: dict[str, str], limits: httpx2.Timeout
    ) -> AsyncIterator[httpx2.Response]:
        try:
            async with self._client.stream("GET", path, params=query, timeout=limits) as response:
                if response.status_code != httpx2.codes.OK:
                    raise refusal(response.status_code)
                yield response
        except httpx2.TimeoutException as error:
            raise ApiFailed("timeout", "no answer in time") from error
        except httpx2.HTTPError as error:
            raise ApiFailed("unreachable", str(error) or type(error).__name__) from error
        except (ConfigError, OSError) as error:  # a token's file that cannot be read
            raise ApiFailed("unreadable", str(error)) from error


def open_api(settings: KubernetesDiscovery, account: Path) -> ApiServer:
    """Read the credentials as they stand now, and open a client with them.

    Args:
        settings: Which to take, and how patient to be.
        account: Folder of the service account, where we run as a pod.

    Raises:
        ApiFailed: There are none that can be used.
    """
    try:
        config = _config(settings, account)
        client = client_adapter.AsyncClient(
            config, client_adapter.ConnectionParams(timeout=httpx2.Timeout(settings.timeout_s))
        )
    except KeyError as error:
        raise ApiFailed("unreadable", f"no {error} in the kubeconfig or environment") from error
    except yaml.YAMLError as error:  # its text would show what stands there: secrets
        raise ApiFailed("unreadable", "the kubeconfig is not valid YAML") from error
    except (
        ConfigError, OSError, ValueError, TypeError, AttributeError, msgspec.MsgspecError,
    ) as error:  # fmt: skip
        raise ApiFailed("unreadable", str(error)) from error
    return ApiServer(client, settings.namespace or config.namespace, settings.timeout_s)


def _config(settings: KubernetesDiscovery, account: Path) -> kubeconfig.SingleConfig:
    if settings.kubeconfig is not None:
        found = kubeconfig.KubeConfig.from_file(settings.kubeconfig)
    else:
        found = kubeconfig.KubeConfig.from_env(service_account=account)
    config = found.get(settings.context)
    if config is None:
        raise ConfigError("no context in the kubeconfig")
    return config if config.user is not None else config._replace(user=User())


async def lines_of(response: httpx2.Response) -> AsyncGenerator[list[bytes], None]:
    """Give the whole lines of an answer, those that came together in one list.

    Raises:
        ApiFailed: One is longer than any event.
    """
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n") if b"\n" in part else (rest + part,)
        if len(rest) > MOST_EVENT_BYTES:
            raise ApiFailed("invalid", f"an event of more than {MOST_EVENT_BYTES} bytes")
        if whole := [line for line in lines if line.strip()]:
            yield whole
