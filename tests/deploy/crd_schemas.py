"""Schemas of the objects that are not Kubernetes' own, as far as deploy/ uses them.

Written from the published definitions: InferencePool of the Gateway API Inference Extension
1.6 (``config/crd/bases/inference.networking.k8s.io_inferencepools.yaml``), HTTPRoute of the
Gateway API 1.3, PodMonitor of Prometheus' operator 0.85.
"""

from typing import Final

_LABEL: Final = {
    "type": "string",
    "maxLength": 63,
    "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
}
_PORT: Final = {
    "type": "object",
    "properties": {"number": {"type": "integer", "minimum": 1, "maximum": 65535}},
    "required": ["number"],
    "additionalProperties": False,
}
_DURATION: Final = {"type": "string", "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$"}


def _strict(required: list[str], **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _object(spec: dict[str, object]) -> dict[str, object]:
    return _strict(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"type": "string"},
        kind={"type": "string"},
        metadata={"type": "object", "required": ["name"]},
        spec=spec,
    )


_LABELS: Final = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 64,
    "additionalProperties": _LABEL,
}
_NAME: Final = {"type": "string", "minLength": 1, "maxLength": 253}

SCHEMAS: Final = {
    ("inference.networking.k8s.io/v1", "InferencePool"): _object(
        _strict(
            ["selector", "targetPorts"],
            selector=_strict(["matchLabels"], matchLabels=_LABELS),
            targetPorts={"type": "array", "minItems": 1, "maxItems": 8, "items": _PORT},
            appProtocol={"enum": ["http", "kubernetes.io/h2c"]},
            endpointPickerRef=_strict(
                ["name", "port"],  # of a Service, which ours is
                group={"type": "string"},
                kind={"const": "Service"},
                name=_NAME,
                port=_PORT,
                failureMode={"enum": ["FailOpen", "FailClose"]},
            ),
        )
    ),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _object(
        _strict(
            ["parentRefs", "rules"],
            hostnames={"type": "array", "items": _NAME},
            parentRefs={
                "type": "array",
                "items": _strict(
                    ["name"],
                    group={"type": "string"},
                    kind={"type": "string"},
                    name=_NAME,
                    namespace=_NAME,
                    sectionName=_NAME,
                ),
            },
            rules={
                "type": "array",
                "maxItems": 16,
                "items": _strict(
                    ["backendRefs"],
                    matches={"type": "array"},
                    timeouts=_strict([], request=_DURATION, backendRequest=_DURATION),
                    backendRefs={
                        "type": "array",
                        "items": _strict(
                            ["name"],
                            group={"type": "string"},
                            kind={"type": "string"},
                            name=_NAME,
                            port={"type": "integer"},
                            weight={"type": "integer", "minimum": 0},
                        ),
                    },
                ),
            },
        )
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): _object(
        _strict(
            ["selector", "podMetricsEndpoints"],
            selector=_strict(["matchLabels"], matchLabels=_LABELS),
            podMetricsEndpoints={
                "type": "array",
                "items": _strict(["port"], port=_NAME, path={"type": "string"}, interval=_DURATION),
            },
        )
    ),
}
