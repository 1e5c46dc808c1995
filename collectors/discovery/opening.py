"""Make the sources that the configuration names.

What a kind of source needs is loaded only where one is configured.
"""

from collections.abc import Iterable

from collectors.discovery.settings import (
    DiscoverySource,
    DnsDiscovery,
    FileDiscovery,
    KubernetesDiscovery,
)
from collectors.discovery.source import DiscoveryCounts, Source, SourceHealth
from collectors.errors import PackageNeeded


def open_sources(
    discovery: Iterable[DiscoverySource], counts: DiscoveryCounts
) -> dict[str, Source]:
    """Make every source, by its name.

    Raises:
        PackageNeeded: A kind of source needs a package that is not installed.
    """
    return {one.name: _open(one, SourceHealth(one.name, counts)) for one in discovery}


def _open(settings: DiscoverySource, health: SourceHealth) -> Source:
    match settings:
        case FileDiscovery():
            from collectors.discovery.files import FileSource  # noqa: PLC0415  # as above

            return FileSource(settings, health)
        case DnsDiscovery():
            try:
                from collectors.discovery.names import DnsSource  # noqa: PLC0415  # as above
            except ImportError as error:
                raise PackageNeeded(f"discovery by DNS ({settings.name})", "dns") from error
            return DnsSource(settings, health)
        case KubernetesDiscovery():
            try:
                from collectors.discovery.kubernetes import (  # noqa: PLC0415  # as above
                    KubernetesSource,
                )
            except ImportError as error:
                what = f"discovery by Kubernetes ({settings.name})"
                raise PackageNeeded(what, "kubernetes") from error
            return KubernetesSource(settings, health)
