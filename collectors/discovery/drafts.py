"""Make endpoints of what sources find: an address, and labels.

The source's settings say what is true of all it finds; labels say what is true of one.
"""

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from pydantic import ValidationError

from collectors.discovery.labels import LabelReader
from collectors.discovery.settings import SourceSettings
from collectors.errors import EndpointUnusable
from collectors.settings import EndpointSettings, KvEventSource

_HOST: Final = re.compile(r"[A-Za-z0-9._:%\[\]-]{1,255}")


class Drafts:
    """Make endpoints as one source's settings say.

    Args:
        settings: Of the source.
    """

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._labels = LabelReader(settings.labels, source=settings.name)

    def endpoint(
        self,
        host: str,
        port: int | None,
        labels: Mapping[str, str] | None = None,
        *,
        scheme: str | None = None,
    ) -> EndpointSettings:
        """Make the endpoint at an address.

        Args:
            host: A name or an IP address, IPv6 without brackets.
            port: ``None`` for the source's.
            labels: As found, of all kinds.
            scheme: ``None`` for the source's.

        Raises:
            EndpointUnusable: There is no endpoint at such an address.
        """
        port = self._settings.port if port is None else port
        if not _HOST.fullmatch(host):
            raise EndpointUnusable(host[:100], "no name of a host, and no address")
        host = _tidy(host)
        at = host if port is None else f"{host}:{port}"
        told = self._labels.read(at, labels or {})
        values = {"url": f"{scheme or self._settings.scheme}://{at}", **self._of_all(host), **told}
        try:
            return EndpointSettings.model_validate(values)
        except ValidationError as error:
            raise EndpointUnusable(at, error.errors()[0]["msg"]) from error

    def _of_all(self, host: str) -> dict[str, object]:
        settings = self._settings
        return {
            "hardware": settings.hardware,
            "model": settings.model,
            "priority_class": settings.priority_class,
            "api_key_env": settings.api_key_env,
            "kv_events": self._kv_events(host),
        }

    def _kv_events(self, host: str) -> KvEventSource | None:
        events, replay = self._settings.kv_events_port, self._settings.kv_replay_port
        if events is None:
            return None
        return KvEventSource(
            address=f"tcp://{host}:{events}",
            replay=None if replay is None else f"tcp://{host}:{replay}",
        )


def _tidy(host: str) -> str:
    """Write a host as a URL has it: addresses in their shortest form, IPv6 in brackets.

    >>> _tidy("2001:DB8:0::1"), _tidy("Vllm-0.example."), _tidy("10.0.0.1")
    ('[2001:db8::1]', 'vllm-0.example', '10.0.0.1')
    """
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return host.removesuffix(".").lower()
    return f"[{address}]" if address.version == 6 else str(address)
