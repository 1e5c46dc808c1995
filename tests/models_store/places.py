"""Where a store can be, and raw access to what is in it, for tests to damage."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import fsspec
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Place(Protocol):
    """A store's files, by paths below its root."""

    where: Path | str

    def files(self) -> list[str]: ...
    def read(self, path: str) -> bytes: ...
    def write(self, path: str, data: bytes) -> None: ...
    def delete(self, path: str) -> None: ...
    def named(self, path: str) -> str: ...


class FolderPlace:
    def __init__(self, root: Path) -> None:
        self.where: Path | str = root
        self._root = root

    def files(self) -> list[str]:
        found = (path for path in self._root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in found)

    def read(self, path: str) -> bytes:
        return (self._root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        (self._root / path).parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).write_bytes(data)

    def delete(self, path: str) -> None:
        (self._root / path).unlink()

    def named(self, path: str) -> str:
        return str(self._root / path)


def files_of(scheme: str) -> Any:
    """Make a client, which takes a tenth of a second for S3.

    fsspec keeps none: one that is kept would go on asking the server of other tests.
    """
    return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)


class BucketPlace:
    def __init__(self, url: str, files: Any) -> None:  # fsspec ships no types
        self.where: Path | str = url
        self._url = url
        self._files = files
        self._root = self._files._strip_protocol(url)

    def files(self) -> list[str]:
        return [name.removeprefix(f"{self._root}/") for name in self._files.find(self._root)]

    def read(self, path: str) -> bytes:
        return bytes(self._files.cat_file(f"{self._root}/{path}"))

    def write(self, path: str, data: bytes) -> None:
        self._files.pipe_file(f"{self._root}/{path}", data)

    def delete(self, path: str) -> None:
        self._files.rm_file(f"{self._root}/{path}")

    def named(self, path: str) -> str:
        return f"{self._url}/{path}"


class _Quiet(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def s3_server() -> Iterator[str]:
    """Run an S3 server on loopback that does one thing at a time, and give its URL."""
    app = DomainDispatcherApplication(create_backend_app)
    # Not threaded: creating only where there is nothing must be one step, as it is with S3.
    server = make_server("127.0.0.1", 0, app, threaded=False, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def s3_keys(url: str) -> Iterator[None]:
    """Let S3 clients of this process, and of those it starts, find that server."""
    values = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
