"""Say which endpoints a Service's slices, or a pool's pods, stand for. Pure.

What gets requests is ready and not on its way out; whatever else there is drains, because it
is not among what is given. What labels say comes from the pod; what it does not say, from the
node selector it was placed by (a pod asked for ``nvidia.com/gpu.product: ...`` runs on such
hardware, though the label is its node's) or from the slice, which has its Service's labels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from collectors.discovery.kubernetes_objects import (
    ContainerPort,
    EndpointSlice,
    Pod,
    SliceEndpoint,
    SlicePort,
)
from collectors.discovery.labels import PREFIX

Wanted = int | str
"""A port by number, or by the name it has in the slice or the pod."""

_READY = "Ready"
_LIKELY_NAMES = ("http", "vllm", "api")


class Address(NamedTuple):
    """Hold where an endpoint is and what is said of it."""

    host: str
    port: int | None
    labels: dict[str, str]


class PortsUnclear(NamedTuple):
    """Tell of ports among which none can be chosen.

    Attributes:
        at: The slice, or the pod.
        names: Of the ports it has.
    """

    at: str
    names: tuple[str, ...]


Unclear = Callable[[PortsUnclear], None]


def of_slices(
    slices: Iterable[EndpointSlice],
    pods: Mapping[str, Pod],
    wanted: Sequence[Wanted],
    unclear: Unclear,
) -> list[Address]:
    """Give the endpoints of a Service.

    Args:
        slices: All of its slices. An endpoint may be in two of them while it moves.
        pods: By name, as far as known.
        wanted: Ports, none for the only one there is.
        unclear: Told of a slice whose ports do not tell.
    """
    found: dict[tuple[str, int | None], Address] = {}
    ready = [
        (one, each)
        for one in sorted(slices, key=lambda one: (one.address_type != "IPv4", one.metadata.name))
        for each in one.endpoints or ()
        if each.addresses and is_ready(each) and not _leaves(_pod_of(each, pods))
    ]
    families: dict[str, str] = {}
    for one, each in ready:
        # A pod of two families is one endpoint, by the first.
        if families.setdefault(_identity(each), one.address_type) != one.address_type:
            continue
        host = (each.addresses or ("",))[0]
        labels = labels_of(_pod_of(each, pods), one.metadata.labels)
        for port in slice_ports(one, wanted, unclear):
            found.setdefault((host, port), Address(host, port, labels))
    return list(found.values())


def is_ready(endpoint: SliceEndpoint) -> bool:
    """Say whether an endpoint takes new requests; what is not said counts as ready.

    >>> from collectors.discovery.kubernetes_objects import SliceConditions
    >>> is_ready(SliceEndpoint(conditions=SliceConditions(serving=True, terminating=True)))
    False
    """
    conditions = endpoint.conditions
    return conditions is None or (conditions.ready is not False and not conditions.terminating)


def of_pods(pods: Iterable[Pod], wanted: Sequence[Wanted], unclear: Unclear) -> list[Address]:
    """Give the endpoints of a pool: every port of every ready pod.

    Args:
        pods: Those the pool selects.
        wanted: Ports, those of the pool or the configuration.
        unclear: Told of a pod that lacks one.
    """
    return [
        Address(pod.status.pod_ip, port, labels_of(pod))
        for pod in sorted(pods, key=lambda pod: pod.metadata.name)
        if serves(pod) and pod.status is not None and pod.status.pod_ip is not None
        for port in pod_ports(pod, wanted, unclear)
    ]


def serves(pod: Pod) -> bool:
    """Say whether a pod takes new requests: it runs, is ready and is not being deleted."""
    status = pod.status
    if status is None or pod.metadata.deletion_timestamp is not None:
        return False
    ready = any(one.type == _READY and one.status == "True" for one in status.conditions or ())
    return ready and status.phase == "Running"


def labels_of(pod: Pod | None, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Gather what is said of an endpoint: what is nearest to it last, as that wins.

    Of annotations, which hold much else, only ours count. They can say what a label's
    value cannot: names of models have slashes.
    """
    gathered = dict(others or {})
    if pod is None:
        return gathered
    if pod.spec is not None:
        gathered |= pod.spec.node_selector or {}
    annotations = (pod.metadata.annotations or {}).items()
    ours = {name: value for name, value in annotations if name.startswith(PREFIX)}
    return gathered | (pod.metadata.labels or {}) | ours


def slice_ports(
    one: EndpointSlice, wanted: Sequence[Wanted], unclear: Unclear
) -> Iterator[int | None]:
    """Give the ports of a slice's endpoints; ``None``: any, so the configuration's.

    A number counts whether or not the slice has it: a pod answers on ports no Service names.
    """
    ports = [port for port in one.ports or () if port.protocol in {None, "TCP"}]
    if not wanted:
        yield from _only(one.metadata.name, ports, unclear)
        return
    for want in wanted:
        if isinstance(want, int):
            yield want
            continue
        numbers = [port.port for port in ports if port.name == want and port.port is not None]
        if not numbers:
            unclear(PortsUnclear(one.metadata.name, tuple(port.name or "" for port in ports)))
        yield from numbers


def pod_ports(pod: Pod, wanted: Sequence[Wanted], unclear: Unclear) -> Iterator[int]:
    """Give the ports of a pod: numbers as they are, names from its containers."""
    named = {port.name: port.container_port for port in _container_ports(pod) if port.name}
    for want in wanted:
        if isinstance(want, int):
            yield want
        elif want in named:
            yield named[want]
        else:
            unclear(PortsUnclear(pod.metadata.name, tuple(named)))


def _container_ports(pod: Pod) -> Iterator[ContainerPort]:
    if pod.spec is not None:
        for container in (*(pod.spec.containers or ()), *(pod.spec.init_containers or ())):
            yield from container.ports or ()


def _only(at: str, ports: list[SlicePort], unclear: Unclear) -> Iterator[int | None]:
    if len(ports) < 2:
        yield ports[0].port if ports else None
        return
    likely = [port.port for name in _LIKELY_NAMES for port in ports if port.name == name]
    if likely:
        yield likely[0]
    else:
        unclear(PortsUnclear(at, tuple(port.name or "" for port in ports)))


def _leaves(pod: Pod | None) -> bool:
    """Say whether a pod is being deleted: it knows before its slice does."""
    return pod is not None and pod.metadata.deletion_timestamp is not None


def _identity(endpoint: SliceEndpoint) -> str:
    ref = endpoint.target_ref
    if ref is not None and (ref.uid or ref.name):
        return ref.uid or ref.name or ""
    return (endpoint.addresses or ("",))[0]


def _pod_of(endpoint: SliceEndpoint, pods: Mapping[str, Pod]) -> Pod | None:
    ref = endpoint.target_ref
    if ref is None or ref.kind != "Pod" or ref.name is None:
        return None
    pod = pods.get(ref.name)
    if pod is None or (ref.uid and pod.metadata.uid and ref.uid != pod.metadata.uid):
        return None
    return pod
