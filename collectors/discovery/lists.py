"""Read a list of endpoints: JSON or YAML, in our own form or in that of Prometheus' file_sd.

Every item of the list is a URL, or a table with ``url`` and the settings of an endpoint
(``[[endpoints]]``), or one with ``targets`` and ``labels`` as Prometheus' file-based service
discovery has it. A list is understood as a whole or not at all, as Prometheus does: half of
one would empty half a fleet.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from collectors.discovery.drafts import Drafts
from collectors.errors import EndpointUnusable, ListUnreadable, PackageNeeded
from collectors.settings import EndpointSettings

_SCHEME: Final = "__scheme__"
"""Prometheus' own label for how a target is spoken to."""


def read_list(text: bytes, drafts: Drafts, *, yaml: bool) -> list[EndpointSettings]:
    """Read the endpoints of one list, one of each name.

    Raises:
        ListUnreadable: It is no such list, or an item of it no endpoint.
        PackageNeeded: It is YAML, and nothing installed reads that.
    """
    items = _parse(text, yaml=yaml)
    if not isinstance(items, list):
        raise ListUnreadable(f"a list is expected, not {_kind(items)}; [] for no endpoint")
    found: dict[str, EndpointSettings] = {}
    for number, item in enumerate(items):
        try:
            for endpoint in _endpoints(item, drafts):
                found.setdefault(endpoint.name, endpoint)
        except (EndpointUnusable, ListUnreadable) as error:
            raise ListUnreadable(f"item {number}: {error}") from error
    return list(found.values())


# Any: what is parsed may be anything until it was looked at.
def _parse(text: bytes, *, yaml: bool) -> Any:  # noqa: ANN401
    try:
        if not yaml:
            return json.loads(text)
        return _parse_yaml(text)
    except (ValueError, RecursionError) as error:
        raise ListUnreadable(str(error).replace("\n", " ")) from error


def _parse_yaml(text: bytes) -> Any:  # noqa: ANN401  # as above
    try:
        import yaml  # noqa: PLC0415  # only where a file is YAML
    except ImportError as error:
        raise PackageNeeded("a list of endpoints in YAML", "yaml") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _endpoints(item: object, drafts: Drafts) -> Iterator[EndpointSettings]:
    if isinstance(item, str):
        yield _target(item, drafts, {})
    elif not isinstance(item, dict):
        raise ListUnreadable(f"a URL or a table is expected, not {_kind(item)}")
    elif "url" in item:
        yield _own(item, drafts)
    else:
        labels = _labels(item.get("labels", {}))
        targets = item.get("targets")
        if not isinstance(targets, list):
            raise ListUnreadable("a table needs url, or targets with a list")
        for target in targets:
            if not isinstance(target, str):
                raise ListUnreadable(f"a target is host:port, not {_kind(target)}")
            yield _target(target, drafts, labels)


def _own(item: Mapping[str, object], drafts: Drafts) -> EndpointSettings:
    """Make the endpoint of a table in our own form; the source's settings lie below it."""
    url = str(item["url"])
    if "api_key_env" in item:
        raise EndpointUnusable(url, "api_key_env belongs into the configuration")
    values = {name: value for name, value in item.items() if name != "labels"}
    base = _target(url, drafts, _labels(item.get("labels", {})))
    try:
        merged = {**base.model_dump(exclude_unset=True), **values, "url": base.url}
        endpoint = EndpointSettings.model_validate(merged)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        unknown = first["type"] == "extra_forbidden"
        problem = "unknown setting" if unknown else first["msg"]
        raise EndpointUnusable(url, f"{at}: {problem}") from error
    if endpoint.kv_events is not None and endpoint.kv_events.bind:
        raise EndpointUnusable(url, "kv_events.bind belongs into the configuration")
    return endpoint


def _target(target: str, drafts: Drafts, labels: Mapping[str, str]) -> EndpointSettings:
    scheme = labels.get(_SCHEME)
    url = urlsplit(target if "://" in target else f"//{target}")
    try:
        host, port = url.hostname, url.port
    except ValueError as error:
        raise EndpointUnusable(target, str(error)) from error
    if "@" in url.netloc:  # what is before it is secret
        raise EndpointUnusable(host or "", "a URL must not hold credentials")
    if not host or url.path.strip("/") or url.query or url.fragment:
        raise EndpointUnusable(target, "not host:port, nor a base URL")
    return drafts.endpoint(host, port, labels, scheme=url.scheme or scheme)


def _labels(labels: object) -> dict[str, str]:
    if not isinstance(labels, dict):
        raise ListUnreadable(f"labels are a table, not {_kind(labels)}")
    return {str(name): str(value) for name, value in labels.items()}


def _kind(value: object) -> str:
    return "nothing" if value is None else type(value).__name__
