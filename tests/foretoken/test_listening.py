"""What is opened before anything is built: the listening socket, and who is warned of it."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from foretoken.errors import ConfigurationInvalid
from foretoken.serve import listen_at, warn_if_open
from foretoken.settings import Settings


def settings(host: str, keys_file: Path | None = None) -> Settings:
    access = {} if keys_file is None else {"keys_file": str(keys_file)}
    return Settings.model_validate({"workers": 4, "proxy": {"host": host, "access": access}})


def test_a_burst_of_connections_waits_until_somebody_takes_them() -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(listen_at("127.0.0.1", 0, "--port"))
        address = listener.getsockname()

        for _ in range(300):  # the 130th of a queue of 128 would hang
            stack.enter_context(socket.create_connection(address, timeout=5))


def test_who_listens_openly_without_keys_is_warned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[admin]\nkey = "sk-admin-0123456789"\n')

    warn_if_open(settings("127.0.0.1"))
    warn_if_open(settings("192.0.2.1", keys))
    quiet = list(caplog.records)
    warn_if_open(settings("192.0.2.1"))

    assert quiet == []
    assert [record.msg for record in caplog.records] == ["open_to_the_network"]


def test_keys_that_cannot_be_used_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"proxy\.access"):
        warn_if_open(settings("192.0.2.1", tmp_path / "absent.toml"))
