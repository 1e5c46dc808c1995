"""Who belongs to the fleet, by the word of files, DNS or Kubernetes."""

from collectors.discovery.drafts import Drafts
from collectors.discovery.labels import LabelReader, label_table
from collectors.discovery.opening import open_sources
from collectors.discovery.settings import (
    Attribute,
    DiscoverySource,
    DnsDiscovery,
    FileDiscovery,
    SourceSettings,
)
from collectors.discovery.source import (
    DiscoveryCounts,
    DiscoveryFailure,
    Found,
    Source,
    SourceHealth,
)

__all__ = [
    "Attribute",
    "DiscoveryCounts",
    "DiscoveryFailure",
    "DiscoverySource",
    "DnsDiscovery",
    "Drafts",
    "FileDiscovery",
    "Found",
    "LabelReader",
    "Source",
    "SourceHealth",
    "SourceSettings",
    "label_table",
    "open_sources",
]
