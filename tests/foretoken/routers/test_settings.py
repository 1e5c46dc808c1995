"""An address that cannot be one stops the start, and no secret stands in a file."""

import pytest
from pydantic import ValidationError

from foretoken.routers.settings import RoutersSettings


@pytest.mark.parametrize("url", ["redis://a:1/0", "rediss://a", "unix:///run/valkey.sock"])
def test_addresses_of_a_server(url: str) -> None:
    assert RoutersSettings(url=url).url == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a:1", "give redis://"),
        ("redis://", "names no server"),
        ("unix://", "names no server"),
        ("redis://a:99999", "give redis://"),
        ("redis://:secret@a:1", "password_env"),
    ],
)
def test_what_is_no_address(url: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        RoutersSettings(url=url)


def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINE", "secret")

    assert RoutersSettings(password_env="MINE").password == "secret"
    assert RoutersSettings(password_env="NOBODYS").password is None
