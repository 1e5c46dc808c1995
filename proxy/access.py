"""Who may use the router: API keys, known by their hashes alone.

A key comes as ``Authorization: Bearer KEY`` or ``x-api-key: KEY``. Only its SHA-256 is
kept, and only hashes are compared, in constant time: neither a log, a dump of memory nor
a clock tells a key. Without any key configured the router is open. Called by the relay for
every request, by the control plane, and by the service when the file of keys changes.
"""

import hashlib
import hmac
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from proxy.errors import KeysUnusable, NotAuthenticated
from proxy.headers import HeaderMap

# Shorter ones can be guessed; generated keys have 32 and more.
LEAST_KEY_LENGTH: Final = 8
_BEARER: Final = b"bearer "
_NOBODY: Final = bytes(32)


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Describe whoever holds one key.

    Attributes:
        name: Of the key; the tenant of its requests where they name no other.
        admin: Whether it may use the control plane from elsewhere.
        requests_per_minute: ``None`` for what the settings say of all.
        tokens_per_minute: Likewise.
    """

    name: str
    admin: bool = False
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class _KeyEntry(BaseModel):
    """One table of the file; secret types keep keys out of error messages."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    key: SecretStr | None = Field(default=None, min_length=LEAST_KEY_LENGTH)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    admin: bool = False
    requests_per_minute: int | None = Field(default=None, ge=1, le=10**9)
    tokens_per_minute: int | None = Field(default=None, ge=1, le=10**12)


_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
_ENTRIES: Final[TypeAdapter[dict[str, _KeyEntry]]] = TypeAdapter(
    dict[_Name, _KeyEntry], config=ConfigDict(hide_input_in_errors=True)
)


class KeyRing:
    """Find the caller a key belongs to.

    >>> ring = KeyRing({digest(b"sk-secret-1"): Caller(name="team-a")})
    >>> ring.find(b"sk-secret-1").name, ring.find(b"sk-secret-2")
    ('team-a', None)
    """

    def __init__(self, callers: Mapping[bytes, Caller]) -> None:
        self._callers = {known: (known, caller) for known, caller in callers.items()}

    def __len__(self) -> int:
        return len(self._callers)

    @property
    def callers(self) -> tuple[Caller, ...]:
        """Give every caller."""
        return tuple(caller for _, caller in self._callers.values())

    def find(self, key: bytes) -> Caller | None:
        """Give the holder of a key, ``None`` for an unknown one."""
        presented = digest(key)
        # What a lookup's time could tell is bits of a guess's hash, which its sender knows.
        known, caller = self._callers.get(presented, (_NOBODY, None))
        return caller if hmac.compare_digest(known, presented) else None


class Access:
    """Let requests in by their keys; the ring may be replaced at any time.

    Attributes:
        open: Whether no key is asked for.
    """

    def __init__(self, ring: KeyRing | None = None) -> None:
        self.ring = KeyRing({}) if ring is None else ring

    @property
    def ring(self) -> KeyRing:
        """Give the keys in force."""
        return self._ring

    @ring.setter
    def ring(self, ring: KeyRing) -> None:
        self._ring = ring
        self.open = not len(ring)

    def caller_of(self, headers: HeaderMap) -> Caller | None:
        """Give whoever sends a request, ``None`` where no key is asked for.

        Raises:
            NotAuthenticated: It has no key, or not one that is known.
        """
        if self.open:
            return None
        key = presented_key(headers)
        if key is None:
            raise NotAuthenticated(
                "no API key: send it as Authorization: Bearer KEY, or as x-api-key"
            )
        caller = self.ring.find(key)
        if caller is None:
            raise NotAuthenticated("the API key is not known here")
        return caller

    def is_admin(self, headers: HeaderMap) -> bool:
        """Tell whether a request has the key of somebody who may use the control plane."""
        key = None if self.open else presented_key(headers)
        caller = None if key is None else self.ring.find(key)
        return caller is not None and caller.admin


def digest(key: bytes) -> bytes:
    """Give the hash that a key is known by, 32 bytes."""
    return hashlib.sha256(key).digest()


def presented_key(headers: HeaderMap) -> bytes | None:
    """Give the key a request comes with, ``None`` without one.

    >>> presented_key({b"authorization": b"Bearer sk-1"}), presented_key({b"x-api-key": b"sk-2"})
    (b'sk-1', b'sk-2')
    """
    given = headers.get(b"authorization")
    if given is not None and given[:7].lower() == _BEARER:
        return given[7:].strip() or None
    return headers.get(b"x-api-key") or None


def read_keys(path: Path | None, environment: str | None) -> KeyRing:
    """Read the keys of a file and those of an environment variable.

    Args:
        path: TOML, one table a key: ``[NAME]`` with ``key = "..."`` or its ``sha256``,
            and optionally ``admin``, ``requests_per_minute``, ``tokens_per_minute``.
        environment: ``NAME=KEY`` separated by commas.

    Raises:
        KeysUnusable: They cannot be read, or a file has none: that would open the router.
    """
    entries = {} if path is None else _read_file(path)
    callers: dict[bytes, Caller] = {}
    for name, entry in entries.items():
        _put(callers, _digest_of(name, entry, str(path)), _caller(name, entry), str(path))
    for name, key in _pairs(environment or ""):
        _put(callers, digest(key), Caller(name=name), "the environment")
    return KeyRing(callers)


def _read_file(path: Path) -> dict[str, _KeyEntry]:
    try:
        entries = _ENTRIES.validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise KeysUnusable(str(path), error.strerror or "cannot be read") from error
    except tomllib.TOMLDecodeError:  # its message may quote the line, which may hold a key
        raise KeysUnusable(str(path), "is not valid TOML") from None
    except UnicodeDecodeError:
        raise KeysUnusable(str(path), "is not UTF-8") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KeysUnusable(str(path), f"{where}: {first['msg']}") from None
    if not entries:
        raise KeysUnusable(str(path), "names no key")
    return entries


def _digest_of(name: str, entry: _KeyEntry, source: str) -> bytes:
    if (entry.key is None) == (entry.sha256 is None):
        raise KeysUnusable(source, f"{name}: needs either key or sha256")
    if entry.sha256 is not None:
        return bytes.fromhex(entry.sha256)
    assert entry.key is not None  # noqa: S101  # one of the two is there
    return digest(entry.key.get_secret_value().encode())


def _caller(name: str, entry: _KeyEntry) -> Caller:
    return Caller(
        name=name,
        admin=entry.admin,
        requests_per_minute=entry.requests_per_minute,
        tokens_per_minute=entry.tokens_per_minute,
    )


def _pairs(text: str) -> Iterable[tuple[str, bytes]]:
    source = "the environment"
    for number, pair in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        name, separator, key = pair.partition("=")
        if not separator or not name:
            raise KeysUnusable(source, f"entry {number} is not NAME=KEY")
        if len(key) < LEAST_KEY_LENGTH:
            raise KeysUnusable(source, f"{name}: shorter than {LEAST_KEY_LENGTH} characters")
        yield name, key.encode()


def _put(callers: dict[bytes, Caller], hashed: bytes, caller: Caller, source: str) -> None:
    if hashed in callers:
        raise KeysUnusable(source, f"{caller.name} has the key of {callers[hashed].name}")
    if any(known.name == caller.name for known in callers.values()):
        raise KeysUnusable(source, f"{caller.name} is there twice")
    callers[hashed] = caller
