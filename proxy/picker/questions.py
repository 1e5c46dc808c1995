"""What Envoy tells the picker, read: protobuf ``ProcessingRequest`` messages.

The one place that knows Envoy's definitions; they come with the extra ``picker``. Called
by :mod:`proxy.picker.server` and :mod:`proxy.picker.processing`.
"""

from enum import IntEnum
from typing import Any, Final

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest
from google.protobuf.message import DecodeError

from proxy.headers import RawHeaders
from proxy.picker.errors import MessageInvalid

SERVICE: Final = "envoy.service.ext_proc.v3.ExternalProcessor"
SUBSET: Final = b"x-gateway-destination-endpoint-subset"
SERVED: Final = b"x-gateway-destination-endpoint-served"
_SUBSET_NAMESPACE: Final = "envoy.lb.subset_hint"
_NAMESPACE: Final = "envoy.lb"
_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_UPSTREAM_ADDRESS: Final = "upstream.address"

# Any: the definitions come without types.
Question = Any


class BodyMode(IntEnum):
    """How Envoy sends a body; the values are its own."""

    NONE = 0
    STREAMED = 1
    BUFFERED = 2
    BUFFERED_PARTIAL = 3
    FULL_DUPLEX_STREAMED = 4


def read_question(data: bytes) -> Question:
    """Read a message.

    Raises:
        MessageInvalid: It is none.
    """
    try:
        return ProcessingRequest.FromString(data)
    except DecodeError as error:
        raise MessageInvalid(f"not a ProcessingRequest: {error}") from error


def header_pairs(headers: Question) -> RawHeaders:
    """Give the headers of a ``HttpHeaders`` in their order, names in lower case as sent."""
    return [
        (header.key.encode("latin-1", "replace"), header.raw_value or header.value.encode())
        for header in headers.headers.headers
    ]


def subset_hint(question: Question) -> bytes | None:
    """Give the endpoints the gateway leaves to choose from, ``None`` where it says nothing."""
    namespaces = question.metadata_context.filter_metadata
    if _SUBSET_NAMESPACE not in namespaces:
        return None
    fields = namespaces[_SUBSET_NAMESPACE].fields
    name = SUBSET.decode()
    if name not in fields:
        return None
    value = fields[name]
    if value.WhichOneof("kind") == "list_value":
        return b",".join(each.string_value.encode() for each in value.list_value.values)
    text: bytes = value.string_value.encode()
    return text


def served_by(question: Question, headers: RawHeaders) -> str | None:
    """Give the address of the endpoint that really answered, ``None`` where nobody says."""
    attributes = question.attributes
    if _ATTRIBUTES in attributes:
        fields = attributes[_ATTRIBUTES].fields
        if _UPSTREAM_ADDRESS in fields:
            return fields[_UPSTREAM_ADDRESS].string_value or None
    namespaces = question.metadata_context.filter_metadata
    if _NAMESPACE in namespaces:
        fields = namespaces[_NAMESPACE].fields
        if SERVED.decode() in fields:
            return fields[SERVED.decode()].string_value or None
    for name, value in headers:
        if name == SERVED:
            return value.decode("latin-1") or None
    return None
