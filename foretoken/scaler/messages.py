"""KEDA's external scaler protocol: its messages, made from their definition at run time.

Nothing is generated, so that no version of protobuf is the wrong one. Needs the extra
``autoscaling``. Source: KEDA's documentation, "External Scalers" (protocol
``externalscaler.ExternalScaler``): names, numbers and types of the fields.
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

SERVICE: Final = "externalscaler.ExternalScaler"

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _BOOL = _Field.TYPE_STRING, _Field.TYPE_BOOL
_INT, _DOUBLE = _Field.TYPE_INT64, _Field.TYPE_DOUBLE

# By message and field: the field's number and type; another message's name is its type, and
# one in brackets may come several times.
_MESSAGES: Final[Mapping[str, Mapping[str, tuple[int, int | str]]]] = {
    "ScaledObjectRef": {
        "name": (1, _STRING),
        "namespace": (2, _STRING),
        "scalerMetadata": (3, "[ScaledObjectRef.ScalerMetadataEntry]"),
    },
    "IsActiveResponse": {"result": (1, _BOOL)},
    "GetMetricSpecResponse": {"metricSpecs": (1, "[MetricSpec]")},
    "MetricSpec": {
        "metricName": (1, _STRING),
        "targetSize": (2, _INT),
        "targetSizeFloat": (3, _DOUBLE),
    },
    "GetMetricsRequest": {
        "scaledObjectRef": (1, "ScaledObjectRef"),
        "metricName": (2, _STRING),
    },
    "GetMetricsResponse": {"metricValues": (1, "[MetricValue]")},
    "MetricValue": {
        "metricName": (1, _STRING),
        "metricValue": (2, _INT),
        "metricValueFloat": (3, _DOUBLE),
    },
}

# Any: classes made at run time have no types.
Message = Any


def message_classes() -> Mapping[str, Message]:
    r"""Make the classes of all messages, by name.

    >>> MetricSpec = message_classes()["MetricSpec"]
    >>> MetricSpec(metricName="m", targetSize=1).SerializeToString()
    b'\n\x01m\x10\x01'
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="foretoken/externalscaler.proto", package="externalscaler", syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add(message, field, number, kind)
    _add_map(next(one for one in file.message_type if one.name == "ScaledObjectRef"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"externalscaler.{name}"))
        for name in _MESSAGES
    }


def _add(message: Message, name: str, number: int, kind: int | str) -> None:
    several = isinstance(kind, str) and kind.startswith("[")
    field = message.field.add(name=name, number=number)
    field.label = _Field.LABEL_REPEATED if several else _Field.LABEL_OPTIONAL
    if isinstance(kind, str):
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".externalscaler.{kind.strip('[]')}"
    else:
        field.type = kind


def _add_map(message: Message) -> None:
    """Add the entries of ``scalerMetadata``: what a map is on the wire."""
    entry = message.nested_type.add(name="ScalerMetadataEntry")
    entry.options.map_entry = True
    _add(entry, "key", 1, _STRING)
    _add(entry, "value", 2, _STRING)
