"""Where routers meet, and how long they wait for each other."""

import os
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SCHEMES: Final = ("redis", "rediss", "unix")


class RoutersSettings(BaseModel):
    """Connect this router with others in front of the same endpoints (docs/routers.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = None
    """Redis or Valkey server they meet at: redis://HOST:PORT/DB, rediss:// for TLS, unix:///PATH.
    Not set: this router knows of no other. Needs the extra "redis"."""
    password_env: str = Field(default="FORETOKEN_REDIS_PASSWORD", min_length=1, max_length=200)
    """Environment variable with the password of that server, where it wants one."""
    username: str | None = Field(default=None, min_length=1, max_length=200)
    """Who logs in there; not set: the server's default user."""
    ca_file: Path | None = None
    """Certificates that a rediss:// server is checked against, PEM; not set: the system's."""
    key_prefix: str = Field(default="foretoken", pattern=r"^[A-Za-z0-9._:-]{1,64}$")
    """Begins all keys and channels; routers of one prefix share, so every fleet of routers that
    uses the server for itself needs its own."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]{1,80}$")
    """Of this router among them; no two may have the same. Not set: host name and a number."""
    timeout_s: float = Field(default=1.0, ge=0.1, le=30)
    """A server that does not answer for so long counts as gone; no request waits for it."""
    lease_s: float = Field(default=5.0, ge=2.0, le=300)
    """Another router takes over the training after the one that trained was silent for so long;
    that one has stopped a fifth of it before. Far above the pauses of a busy process."""

    @field_validator("url")
    @classmethod
    def _is_one_of_redis(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            valid = parts.port is None or parts.port > 0
        except ValueError:
            valid = False
        if not valid or parts.scheme not in _SCHEMES:
            msg = "give redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"
            raise ValueError(msg)
        if parts.password is not None:
            msg = "holds a password: set it in the environment variable that password_env names"
            raise ValueError(msg)
        if not (parts.path if parts.scheme == "unix" else parts.hostname):
            msg = "names no server"
            raise ValueError(msg)
        return url

    @property
    def password(self) -> str | None:
        """Read the password that the environment holds, ``None`` for none."""
        return os.environ.get(self.password_env)
