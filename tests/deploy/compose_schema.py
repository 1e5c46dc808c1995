"""The part of the Compose specification that deploy/compose.yaml uses, and nothing else.

Written from the published specification (compose-spec.io, "Services", "Volumes").
"""

from typing import Final

_TEXTS: Final = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}

SCHEMA: Final = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": False,
    "properties": {
        "volumes": {"type": "object", "additionalProperties": {"type": ["null", "object"]}},
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "oneOf": [{"required": ["image"]}, {"required": ["build"]}],
                "additionalProperties": False,
                "properties": {
                    "build": {"type": "string"},
                    "image": {"type": "string", "pattern": "^[a-z0-9./_-]+:v?[0-9][0-9.]*$"},
                    "command": _TEXTS,
                    "ports": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"},
                    },
                    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                    "volumes": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^[./\w-]+:/[./\w-]+(:ro)?$"},
                    },
                    "tmpfs": _TEXTS,
                    "read_only": {"type": "boolean"},
                    "cap_drop": _TEXTS,
                    "security_opt": _TEXTS,
                    "stop_grace_period": {"type": "string", "pattern": "^[0-9]+s$"},
                    "depends_on": _TEXTS,
                    "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
                },
            },
        },
    },
}
