import pytest
from pydantic import ValidationError

from collectors.settings import EndpointSettings


@pytest.mark.parametrize(
    ("url", "name", "base"),
    [
        ("http://10.0.0.1:8000", "10.0.0.1:8000", "http://10.0.0.1:8000"),
        ("http://host:8000/", "host:8000", "http://host:8000"),
        ("https://host", "host:443", "https://host"),
        ("HTTP://Host:1", "host:1", "http://host:1"),
        ("http://[::1]:8000", "[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_urls_are_tidied_and_named(url: str, name: str, base: str) -> None:
    settings = EndpointSettings(url=url)

    assert (settings.name, settings.url) == (name, base)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("host:8000", "is not a base URL such as http"),
        ("", "is not a base URL"),
        ("ftp://host:1", "is not a base URL"),
        ("http://", "is not a base URL"),
        ("http://host:8000/v1", "without a path such as /v1"),
        ("http://host:99999", "no valid port"),
        ("http://user:secret@host:1", "must not hold credentials"),
    ],
)
def test_other_urls_are_refused_with_the_reason(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EndpointSettings(url=url)
