"""The fields we read of Kubernetes' objects; everything else is skipped unread.

Lists may be absent or ``null``: the API writes both for empty ones.

Source: Kubernetes API v1.34 (core/v1, discovery.k8s.io/v1); Gateway API Inference
Extension v1.0 (inference.networking.k8s.io/v1, and the older v1alpha2).
"""

from collections.abc import Mapping

import msgspec


class Meta(msgspec.Struct, rename="camel"):
    """Name an object and its version."""

    name: str = ""
    uid: str | None = None
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class Item(msgspec.Struct, rename="camel"):
    """Be any object of a collection."""

    metadata: Meta


class ContainerPort(msgspec.Struct, rename="camel"):
    """Name a port of a container."""

    container_port: int
    name: str | None = None


class Container(msgspec.Struct, rename="camel"):
    """Hold the ports of one container."""

    ports: list[ContainerPort] | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    """Say what a pod is to be."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None  # sidecars that start first are among these
    node_selector: dict[str, str] | None = None


class PodCondition(msgspec.Struct):
    """State one thing of a pod: "True", "False" or "Unknown"."""

    type: str
    status: str


class PodStatus(msgspec.Struct, rename="camel"):
    """Say what a pod is."""

    phase: str | None = None
    pod_ip: str | None = msgspec.field(default=None, name="podIP")
    conditions: list[PodCondition] | None = None


class Pod(Item, rename="camel"):
    """Hold a pod."""

    spec: PodSpec | None = None
    status: PodStatus | None = None


class SliceConditions(msgspec.Struct):
    """Say how one endpoint is; ``None`` counts as ready, and as not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(msgspec.Struct):
    """Name what stands behind an address."""

    kind: str | None = None
    name: str | None = None
    uid: str | None = None


class SliceEndpoint(msgspec.Struct, rename="camel"):
    """Hold one endpoint; of its addresses only the first counts."""

    addresses: list[str] | None = None
    conditions: SliceConditions | None = None
    target_ref: TargetRef | None = None


class SlicePort(msgspec.Struct, rename="camel"):
    """Name a port that all endpoints of a slice have."""

    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class EndpointSlice(Item, rename="camel"):
    """Hold some of a Service's endpoints."""

    address_type: str = "IPv4"
    endpoints: list[SliceEndpoint] | None = None
    ports: list[SlicePort] | None = None


class ServiceSpec(msgspec.Struct):
    """Say which pods a Service has; without a selector somebody else writes its slices."""

    selector: dict[str, str] | None = None


class Service(Item):
    """Hold a Service."""

    spec: ServiceSpec | None = None

    @property
    def selects(self) -> dict[str, str]:
        """Give the labels its pods have; none: it selects none."""
        return dict((self.spec and self.spec.selector) or {})


class PoolPort(msgspec.Struct):
    """Hold one port of a pool."""

    number: int


class PoolSpec(msgspec.Struct, rename="camel"):
    """Say which pods a pool has, and on which ports they serve: v1, and v1alpha2's one."""

    selector: dict[str, str | dict[str, str] | None] | None = None
    target_ports: list[PoolPort] | None = None
    target_port_number: int | None = None


class InferencePool(Item):
    """Hold an InferencePool."""

    spec: PoolSpec | None = None

    @property
    def selects(self) -> dict[str, str]:
        """Give the labels its pods have: v1's ``matchLabels``, or v1alpha2's plain map."""
        return pool_labels((self.spec and self.spec.selector) or {})

    @property
    def ports(self) -> tuple[int, ...]:
        """Give the ports its pods serve on; each is an endpoint of its own."""
        if self.spec is None:
            return ()
        if self.spec.target_ports:
            return tuple(one.number for one in self.spec.target_ports)
        number = self.spec.target_port_number
        return () if number is None else (number,)


def pool_labels(selector: Mapping[str, str | dict[str, str] | None]) -> dict[str, str]:
    """Read a pool's selector.

    >>> pool_labels({"matchLabels": {"app": "vllm"}})
    {'app': 'vllm'}
    >>> pool_labels({"app": "vllm"})
    {'app': 'vllm'}
    """
    matched = selector.get("matchLabels")
    if isinstance(matched, dict):
        return matched
    return {name: value for name, value in selector.items() if isinstance(value, str)}
