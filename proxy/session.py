"""Which conversation a request belongs to, by what clients and other routers send.

The most particular name wins: a conversation's header, its field in the body, the person's
header and field, then the tenant's. Whoever sends none has no session. Called when a
request is read.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from xxhash import xxh3_128_hexdigest

from proxy.body_fields import Body
from proxy.headers import HeaderMap, text_of

# Most common first; those of the agents' harnesses last, and parents after their children.
CONVERSATION_HEADERS: Final = (
    b"x-session-id",
    b"x-claude-code-session-id",
    b"session-id",
    b"session_id",
    b"thread-id",
    b"x-session-affinity",
    b"x-dynamo-session-id",
    b"x-smg-routing-key",
    b"x-session-token",
    b"x-parent-session-id",
    b"x-dynamo-parent-session-id",
)
PERSON_HEADERS: Final = (b"x-user-id",)
TENANT_HEADERS: Final = (b"x-tenant-id",)
_HEADERS: Final = frozenset((*CONVERSATION_HEADERS, *PERSON_HEADERS, *TENANT_HEADERS))
_LONGEST: Final = 256
"""Characters; a longer name is kept as its hash, so that clients do not fill memory."""


def session_of(headers: HeaderMap, body: Body) -> str | None:
    """Give the conversation, ``None`` where nothing names one.

    >>> session_of({b"x-user-id": b"ann"}, Body(prompt_cache_key=b'"essay"'))
    'essay'
    >>> session_of({}, Body()) is None
    True
    """
    if _HEADERS.isdisjoint(headers) and not body.names_anyone:
        return None
    name = next((name for name in _names(headers, body) if name), None)
    if name is None or len(name) <= _LONGEST:
        return name
    return xxh3_128_hexdigest(name.encode(errors="surrogatepass"))


def _names(headers: HeaderMap, body: Body) -> Iterator[str | None]:
    yield from _of(headers, CONVERSATION_HEADERS)
    yield from body.conversation
    yield from _of(headers, PERSON_HEADERS)
    yield from body.person
    yield from _of(headers, TENANT_HEADERS)


def _of(headers: HeaderMap, names: Iterable[bytes]) -> Iterator[str | None]:
    return (text_of(headers, name) for name in names)
