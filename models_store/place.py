"""From what people write to where versions are kept: a folder, or the URL of a bucket."""

from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote, urlsplit

from models_store.errors import StoreUnusable
from models_store.folder import Folder
from models_store.storage import Storage

Place: TypeAlias = Path | str
"""A folder's path or a bucket's URL."""

NO_KEYS: Final = "keys belong into the environment, as AWS_ACCESS_KEY_ID, not into a URL"

_EXTRAS: Final = {
    "s3": "pip install 'foretoken[s3]'",
    "s3a": "pip install 'foretoken[s3]'",
    "gs": "pip install gcsfs",
    "gcs": "pip install gcsfs",
}


def is_url(place: Place) -> bool:
    """Tell the URL of a bucket from the path of a folder.

    >>> is_url("s3://bucket/models"), is_url("data/models"), is_url("file:///data")
    (True, False, False)
    """
    return "://" in str(place) and not str(place).startswith("file://")


def path_of(place: Place) -> Path:
    """Give the path of a folder, which may be written as a URL.

    >>> path_of("file:///data/my%20models").as_posix()
    '/data/my models'
    """
    text = str(place)
    if text.startswith("file://"):
        return Path(unquote(urlsplit(text).path))
    return Path(place)


def holds_keys(place: Place) -> bool:
    """Tell a URL with a name, a password or options in it, any of which may be secret.

    >>> holds_keys("s3://key:secret@bucket/models"), holds_keys("s3://bucket/models")
    (True, False)
    """
    url = urlsplit(str(place))
    return is_url(place) and ("@" in url.netloc or bool(url.query))


def shown(place: Place) -> str:
    """Name a place for people and logs, without what may be a key.

    >>> shown("sftp://user:secret@host/models?token=1")
    'sftp://host/models'
    """
    if not is_url(place):
        return str(place)
    url = urlsplit(str(place))
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def open_storage(place: Place) -> Storage:
    """Open the place where versions are kept; asks nothing of the network yet.

    Raises:
        StoreUnusable: No such kind of URL, its package is not installed, or it holds a key.
    """
    if not is_url(place):
        return Folder(path_of(place))
    url = urlsplit(str(place))
    if holds_keys(place):
        raise StoreUnusable(shown(place), NO_KEYS)
    if not (url.netloc or url.path.strip("/")):
        raise StoreUnusable(shown(place), "names no bucket")
    # Whoever keeps versions in a folder does without it: s3fs takes 0.3 s and 42 MB.
    from models_store.objects import Objects  # noqa: PLC0415

    try:
        return Objects(str(place))
    except ImportError as error:
        how = _EXTRAS.get(url.scheme, "install the fsspec package for it")
        raise StoreUnusable(shown(place), f"needs a package: {how}") from error
    except ValueError as error:
        raise StoreUnusable(shown(place), f"fsspec knows no {url.scheme}://") from error
