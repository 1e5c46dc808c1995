"""What labels say of an endpoint: one table from label names to attributes.

Labels come from many hands: a value that cannot be is as if it were not there, costs its
attribute alone, and is logged once. Names are compared the way Prometheus writes them
(``foretoken.dev/hardware`` is ``foretoken_dev_hardware``), and without the prefix that its
service discovery puts before labels of Kubernetes.
"""

import logging
import re
from collections.abc import Mapping
from typing import Final, get_args

from collectors.discovery.settings import Attribute

logger = logging.getLogger(__name__)

PREFIX: Final = "foretoken.dev/"
"""Before the name of any attribute: ``foretoken.dev/hardware``."""

_SHORT: Final = "foretoken_"  # where names may have no dots, as those of Prometheus

_KNOWN: Final[Mapping[Attribute, tuple[str, ...]]] = {
    "hardware": (
        "nvidia.com/gpu.product",  # NVIDIA GPU feature discovery
        "amd.com/gpu.product-name",  # AMD's node labeller
        "cloud.google.com/gke-accelerator",
        "karpenter.k8s.aws/instance-gpu-name",
    ),
    "role": ("llm-d.ai/role",),
}
"""Names that others have given the same things, after ours."""

_ODD: Final = re.compile(r"[^A-Za-z0-9_]")
_META: Final = re.compile(
    r"^__meta_kubernetes_(?:pod|service|node|endpoints|endpointslice)_(?:label|annotation)_"
)
_MOST_LOGGED: Final = 1000  # values remembered as logged: no bound would be a leak

Value = str | int
_COUNTS: Final = {
    "priority_class": (0, 9),
    "max_seqs": (1, 1_000_000),
    "max_batched_tokens": (1, 100_000_000),
    "cpu_kv_tokens": (1, 100_000_000),
    "shared_kv_tokens": (1, 10**12),
}


def label_table(
    further: Mapping[Attribute, tuple[str, ...]] | None = None,
) -> dict[Attribute, tuple[str, ...]]:
    """Give the label names of every attribute, first to last: configured, ours, others'.

    >>> label_table({"role": ("my/role",)})["role"]
    ('my/role', 'foretoken.dev/role', 'foretoken_role', 'llm-d.ai/role')
    """
    further = further or {}
    return {
        attribute: (
            *further.get(attribute, ()),
            PREFIX + attribute,
            _SHORT + attribute,
            *_KNOWN.get(attribute, ()),
        )
        for attribute in get_args(Attribute)
    }


class LabelReader:
    """Read attributes out of labels.

    Args:
        further: Label names by attribute, before the known ones.
        source: Named in the log.

    >>> reader = LabelReader({}, source="file")
    >>> reader.read("a:1", {"nvidia.com/gpu.product": "H100", "foretoken.dev/max-seqs": "lots"})
    {'hardware': 'H100'}
    """

    def __init__(self, further: Mapping[Attribute, tuple[str, ...]], *, source: str) -> None:
        self._source = source
        self._names: dict[Attribute, tuple[str, ...]] = {
            attribute: tuple(_plain(name) for name in names)
            for attribute, names in label_table(further).items()
        }
        self._logged: set[tuple[str, str]] = set()

    def read(self, endpoint: str, labels: Mapping[str, str]) -> dict[str, Value]:
        """Give the attributes that an endpoint's labels state."""
        plain = {_plain(name): value for name, value in labels.items()}
        found: dict[str, Value] = {}
        for attribute, names in self._names.items():
            said = next((plain[name] for name in names if plain.get(name, "").strip()), None)
            if said is None:
                continue
            try:
                found[attribute] = _value(attribute, said.strip())
            except ValueError as error:
                self._log_once(endpoint, attribute, said, str(error))
        return found

    def _log_once(self, endpoint: str, attribute: Attribute, said: str, problem: str) -> None:
        if (attribute, said) in self._logged or len(self._logged) >= _MOST_LOGGED:
            return
        self._logged.add((attribute, said))
        fields = {"attribute": attribute, "value": said[:100], "problem": problem}
        told = {"source": self._source, "endpoint": endpoint, **fields}
        logger.warning("label_unusable", extra=told)


def _plain(name: str) -> str:
    """Write a label's name as Prometheus would, without what it puts before it.

    >>> _plain("__meta_kubernetes_pod_label_foretoken_dev_max_seqs") == _plain(PREFIX + "max-seqs")
    True
    """
    return _ODD.sub("_", _META.sub("", name)).lower()


def _value(attribute: Attribute, said: str) -> Value:
    bounds = _COUNTS.get(attribute)
    if bounds is not None:
        return _count(said, *bounds)
    if attribute == "role":
        return _role(said)
    most = 100 if attribute == "hardware" else 500
    if len(said) > most:
        msg = f"longer than {most} characters"
        raise ValueError(msg)
    return said


def _count(said: str, least: int, most: int) -> int:
    if not said.isascii() or not said.isdigit() or len(said) > 18:
        msg = "not a whole number"
        raise ValueError(msg)
    if not least <= int(said) <= most:
        msg = f"not between {least} and {most}"
        raise ValueError(msg)
    return int(said)


def _role(said: str) -> str:
    """Read a role, llm-d's compound ones too.

    >>> [_role(said) for said in ("decode", "prefill-decode", "encode-prefill", "both")]
    ['decode', 'both', 'prefill', 'both']
    """
    parts = set(said.lower().split("-"))
    if "both" in parts or {"prefill", "decode"} <= parts:
        return "both"
    for role in ("decode", "prefill", "encode"):
        if role in parts:
            return role
    msg = "none of both, prefill, decode, encode"
    raise ValueError(msg)
