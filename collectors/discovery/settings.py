"""Where endpoints are found, beside those that the configuration lists."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

Attribute = Literal[
    "hardware",
    "model",
    "role",
    "priority_class",
    "max_seqs",
    "max_batched_tokens",
    "cpu_kv_tokens",
    "shared_kv_tokens",
]
"""What a label may say of an endpoint; the fields of ``[[endpoints]]`` of the same name."""


class SourceSettings(BaseModel):
    """Configure what all sources have: how what they find becomes an endpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = Field(default=None, min_length=1, max_length=100)
    """Its name in logs and metrics; not set: its kind. Two sources need two names."""

    scheme: Literal["http", "https"] = "http"
    """How endpoints are spoken to that do not say."""

    port: int | None = Field(default=None, ge=1, le=65_535)
    """Port of endpoints that come without one."""

    hardware: str | None = Field(default=None, max_length=100)
    """Hardware label of endpoints whose labels say none."""

    model: str | None = Field(default=None, min_length=1, max_length=500)
    """Base model of endpoints whose labels say none; not set: they are asked."""

    priority_class: int = Field(default=0, ge=0, le=9)
    """Priority class of endpoints whose labels say none."""

    api_key_env: str | None = Field(default=None, min_length=1, max_length=200)
    """Environment variable that holds their ``--api-key``. Only the configuration can name one:
    whoever may label an endpoint must not choose which secret is sent to it."""

    kv_events_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port where they publish KV events (vLLM: ``--kv-events-config``); not set: they do not."""

    kv_replay_port: int | None = Field(default=None, ge=1, le=65_535)
    """Port of their ``replay_endpoint``."""

    labels: dict[Attribute, tuple[str, ...]] = Field(default_factory=dict)
    """Further label names by attribute, looked at before the known ones."""

    @property
    def name(self) -> str:
        """Name it as logs and metrics do."""
        kind: str = getattr(self, "kind", "")  # every kind declares it as a literal of its own
        return self.source or kind


class FileDiscovery(SourceSettings):
    """Find endpoints in files, JSON or YAML, that somebody keeps current."""

    kind: Literal["file"] = "file"

    files: tuple[str, ...] = Field(min_length=1)
    """Paths; the last part may be a pattern, as ``/etc/foretoken/fleet/*.json``."""

    interval_s: float = Field(default=1.0, ge=0.05, le=3600.0)
    """Between two looks at the files: a look is one system call a file."""


class DnsDiscovery(SourceSettings):
    """Find endpoints in the records of a DNS name."""

    kind: Literal["dns"] = "dns"

    host: str = Field(min_length=1, max_length=253)
    """The name, as ``vllm.default.svc.cluster.local`` or ``_http._tcp.vllm.example``."""

    record: Literal["address", "srv"] = "address"
    """"address": every address is an endpoint, at ``port``. "srv": every SRV record is one at each
    address of its target, at its own port."""

    family: Literal["auto", "ipv4", "ipv6"] = "auto"
    """"auto": A records, and AAAA records where there are none; both would count each endpoint of
    two addresses twice."""

    by_name: bool = False
    """With "srv": speak to targets by their names, which certificates are for, and not by their
    addresses."""

    servers: tuple[str, ...] = ()
    """Whom to ask, ``ADDRESS`` or ``ADDRESS:PORT``; none: those of /etc/resolv.conf."""

    least_s: float = Field(default=1.0, ge=0.05, le=3600.0)
    """Asked again no sooner, however short the records' TTL."""

    most_s: float = Field(default=30.0, ge=0.05, le=86_400.0)
    """Asked again no later, however long it is."""

    timeout_s: float = Field(default=3.0, ge=0.05, le=60.0)
    """For one answer, all servers asked."""

    @model_validator(mode="after")
    def _addresses_have_a_port(self) -> Self:
        if self.record == "address" and self.port is None:
            msg = "port: address records have none, so give the endpoints' own"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        if self.least_s > self.most_s:
            msg = f"least_s = {self.least_s:g} must not be more than most_s = {self.most_s:g}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _servers_are_addresses(self) -> Self:
        for server in self.servers:
            server_address(server)
        return self


def server_address(text: str) -> tuple[str, int]:
    """Read the address of a DNS server.

    Raises:
        ValueError: It is none.

    >>> server_address("10.0.0.53"), server_address("[::1]:5353")
    (('10.0.0.53', 53), ('::1', 5353))
    """
    try:
        return str(ip_address(text)), 53
    except ValueError:
        url = urlsplit(f"//{text}")
    try:
        return str(ip_address(url.hostname or "")), url.port or 53
    except ValueError as error:
        msg = f"servers: {text!r} is not an address such as 10.0.0.53 or 10.0.0.53:5353"
        raise ValueError(msg) from error


ObjectName = Annotated[str, Field(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
PortNumber = Annotated[int, Field(ge=1, le=65_535)]
PortName = Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


class KubernetesDiscovery(SourceSettings):
    """Find endpoints in Kubernetes: those of a Service, or the pods of an InferencePool."""

    kind: Literal["kubernetes"] = "kubernetes"

    service: ObjectName | None = None
    """The Service whose EndpointSlices name the endpoints; this or ``pool``."""

    pool: ObjectName | None = None
    """The InferencePool whose ready pods are the endpoints; this or ``service``."""

    pool_api: Literal["v1", "v1alpha2"] = "v1"
    """Version of the pool's API: "v1" is ``inference.networking.k8s.io``, "v1alpha2" the older
    ``inference.networking.x-k8s.io``."""

    namespace: ObjectName | None = None
    """Where it is; not set: that of the pod we run in, or of the kubeconfig's context."""

    ports: tuple[PortNumber | PortName, ...] = ()
    """Ports by number or name, each an endpoint of its own (data-parallel ranks); none: those the
    pool names, or the only one of the Service (of several the one named "http")."""

    kubeconfig: Path | None = None
    """File with credentials; not set: those of the pod we run in, else ``KUBECONFIG``, else
    ``~/.kube/config``."""

    context: str | None = Field(default=None, min_length=1, max_length=500)
    """Context of the kubeconfig; not set: its current one."""

    timeout_s: float = Field(default=10.0, ge=0.05, le=300.0)
    """For one answer of the API server."""

    watch_s: float = Field(default=60.0, ge=1.0, le=3600.0)
    """How long a watch lasts. It costs the server one request each time, and a connection that died
    without a word is noticed after so long at most."""

    @model_validator(mode="after")
    def _service_or_pool(self) -> Self:
        if (self.service is None) == (self.pool is None):
            msg = "service, pool: give one of them"
            raise ValueError(msg)
        return self


DiscoverySource = Annotated[
    FileDiscovery | DnsDiscovery | KubernetesDiscovery, Field(discriminator="kind")
]
"""One ``[[discovery]]`` table."""
