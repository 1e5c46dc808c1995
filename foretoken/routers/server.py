"""The Redis or Valkey server routers meet at: every command that is ever sent there.

Names of keys and channels, Lua scripts and error mapping are here and nowhere else. The
library is imported when it is used: whoever has no other routers needs none.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from foretoken.errors import ConfigurationInvalid
from foretoken.routers.counts import Failure
from foretoken.routers.exchange import ABSENT_S
from foretoken.routers.settings import RoutersSettings

_TAKE: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local token = math.max(now, tonumber(redis.call('GET', KEYS[2]) or '0') + 1)
redis.call('SET', KEYS[2], string.format('%.0f', token))
redis.call('SET', KEYS[1], string.format('%.0f', token) .. ' ' .. ARGV[1], 'PX', ARGV[2])
return token
"""
"""A token that grows, be it over a flush of everything: the time, or one more than the last."""
_RENEW: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_GIVE_UP: Final = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""

CLOSE_S: Final = 2.0
_PAST_S: Final = 60.0
"""Names of writers that are gone are kept for so long, for whoever looks."""


class ServerGone(Exception):
    """The server cannot be used for now.

    Attributes:
        reason: Why, of a closed set.
    """

    def __init__(self, reason: Failure, detail: str) -> None:
        super().__init__(detail)
        self.reason: Failure = reason


class Server:
    """Speak to the server; every call ends within the timeout.

    Args:
        client: redis-py's.
        settings: Names and times.
        store: Names the models store, whose readers elect one trainer.
    """

    # Any: redis-py's types differ with the protocol in use.
    def __init__(self, client: Any, settings: RoutersSettings, store: str) -> None:  # noqa: ANN401
        self._client = client
        self._pubsub = client.pubsub()
        self._timeout_s = settings.timeout_s
        prefix = settings.key_prefix
        self.frames = f"{prefix}:frames".encode()
        self.fed = f"{prefix}:fed:{store}".encode()
        self._row = f"{prefix}:row:"
        self._writers = f"{prefix}:writers"
        self._lease = f"{prefix}:trainer:{store}"
        self._token = f"{prefix}:token:{store}"

    # Frames

    async def subscribe(self, channel: bytes) -> None:
        """Begin to hear a channel."""
        with _mapped():
            await self._pubsub.subscribe(channel)

    async def unsubscribe(self, channel: bytes) -> None:
        """Hear a channel no more."""
        with _mapped():
            await self._pubsub.unsubscribe(channel)

    async def next(self, within_s: float) -> tuple[bytes, bytes] | None:
        """Give the next message and its channel; ``None``: something else, or none came."""
        with _mapped():
            message = await self._pubsub.get_message(timeout=within_s)
        if message is None:
            raise ServerGone("deaf", f"nothing heard for {within_s:g} s")
        if message["type"] != "message":
            return None
        return message["channel"], message["data"]

    async def publish(self, channel: bytes, frame: bytes) -> None:
        """Say something to all who hear the channel."""
        with _mapped():
            await self._client.publish(channel, frame)

    async def publish_row(self, key: str, frame: bytes, now_s: float) -> None:
        """Say it, and leave it for whoever begins: it expires unless it is renewed."""
        with _mapped():
            pipe = self._client.pipeline(transaction=False)
            pipe.publish(self.frames, frame)
            pipe.set(self._row + key, frame, px=int(ABSENT_S * 1000))
            pipe.zadd(self._writers, {key: now_s})
            pipe.zremrangebyscore(self._writers, "-inf", now_s - _PAST_S)
            await pipe.execute()

    async def rows(self, most: int) -> Sequence[bytes]:
        """Read what those that are there have left."""
        with _mapped():
            keys = await self._client.zrevrange(self._writers, 0, most - 1)
            if not keys:
                return []
            found = await self._client.mget([self._row.encode() + key for key in keys])
        return [frame for frame in found if frame is not None]

    async def remove_row(self, key: str) -> None:
        """Take back what was left: we end."""
        with _mapped():
            await self._client.delete(self._row + key)

    # The clock

    async def time_s(self) -> float:
        """Give the server's time."""
        with _mapped():
            seconds, microseconds = await self._client.time()
        return float(seconds) + float(microseconds) * 1e-6

    # The lease

    async def take(self, owner: str, ttl_s: float) -> int | None:
        """Take the lease if nobody has it: the token, else ``None``."""
        with _mapped():
            token = await self._client.eval(
                _TAKE, 2, self._lease, self._token, owner, int(ttl_s * 1000)
            )
        return int(token) or None

    async def renew(self, owner: str, token: int, ttl_s: float) -> bool:
        """Keep the lease for as long again; false where it is not ours any more."""
        with _mapped():
            kept = await self._client.eval(
                _RENEW, 1, self._lease, f"{token} {owner}", int(ttl_s * 1000)
            )
        return bool(kept)

    async def give_up(self, owner: str, token: int) -> None:
        """Let others have the lease, if it is ours."""
        with _mapped():
            await self._client.eval(_GIVE_UP, 1, self._lease, f"{token} {owner}")

    async def close(self) -> None:
        """Close every connection."""
        await self._pubsub.aclose()
        await self._client.aclose()


@asynccontextmanager
async def connected(settings: RoutersSettings, store: str) -> AsyncIterator[Server]:
    """Connect, and close in the end.

    Raises:
        ServerGone: It cannot be reached, or lets us not in.
    """
    import redis.asyncio  # noqa: PLC0415  # as the module says
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415

    options: dict[str, Any] = {}
    if settings.ca_file is not None and (settings.url or "").startswith("rediss://"):
        options["ssl_ca_certs"] = str(settings.ca_file)
    client = redis.asyncio.Redis.from_url(
        settings.url or "",
        username=settings.username,
        password=settings.password,
        socket_timeout=settings.timeout_s,
        socket_connect_timeout=settings.timeout_s,
        retry=Retry(NoBackoff(), 0),  # whether and when to try again is ours to say
        retry_on_error=[],
        protocol=2,
        client_name="foretoken",
        **options,
    )
    server = Server(client, settings, store)
    try:
        with _mapped():
            await client.ping()
        yield server
    finally:
        await _ended(asyncio.ensure_future(server.close()))


async def _ended(closing: asyncio.Future[None]) -> None:
    """Wait until all is closed, even where we are cancelled meanwhile: nothing may be left."""
    try:
        await asyncio.wait({closing}, timeout=CLOSE_S)
    finally:
        if not closing.done():
            await asyncio.wait({closing}, timeout=CLOSE_S)
        if closing.done() and not closing.cancelled():
            closing.exception()  # what cannot be closed in order is closed all the same


def check_installed(settings: RoutersSettings) -> None:
    """Find out at start whether the server could be spoken to at all.

    Raises:
        ConfigurationInvalid: The extra is missing, or the address is none.
    """
    try:
        import redis.asyncio  # noqa: PLC0415  # as the module says
    except ImportError as error:
        problem = "needs the extra: pip install 'foretoken[redis]'"
        raise ConfigurationInvalid("routers.url", (problem,)) from error
    try:
        redis.asyncio.ConnectionPool.from_url(settings.url or "")
    except ValueError as error:
        raise ConfigurationInvalid("routers.url", (str(error),)) from error


@contextmanager
def _mapped() -> Iterator[None]:
    """Turn what the library raises into ours."""
    from redis import exceptions  # noqa: PLC0415  # as the module says

    try:
        yield
    except (exceptions.AuthenticationError, exceptions.NoPermissionError) as error:
        raise ServerGone("login", str(error)) from error
    except (exceptions.TimeoutError, TimeoutError) as error:
        raise ServerGone("timeout", str(error) or "no answer in time") from error
    except (exceptions.ConnectionError, OSError) as error:
        raise ServerGone("refused", str(error)) from error
    except exceptions.RedisError as error:
        raise ServerGone("error", str(error)) from error
