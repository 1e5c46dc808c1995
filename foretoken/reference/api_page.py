"""The control API's OpenAPI document, asked of the application itself, and a page of it."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx

from foretoken.build import build
from foretoken.reference.markdown import prose, table
from foretoken.settings import Settings

# Any: JSON, all through this module.
Json = Any

_INTRODUCTION: Final = """\
# Control API

What a running Foretoken tells of itself and lets one change, as JSON below `/foretoken/` of the
port it serves; [openapi.json](openapi.json) describes it for programs, and the server gives the
same at `/foretoken/openapi.json`. Inference is the OpenAI API of the endpoints behind it and not
described here; the headers it reads and writes are in [headers.md](headers.md), the predictor's
two APIs in [predictor-api.md](predictor-api.md), who may call what in [access.md](access.md).

Seconds and fractions throughout; a name that ends in `_at_s` is Unix time; `null` is unknown,
never zero. Every refusal has the form of OpenAI's errors, `{"error": {"message", "type", "param",
"code"}}`: 400 or 422 for what is wrong with the request, 401 and 403 for who asks, 404 for what
does not exist, 409 for what exists already.

Beside it, on the same port: `GET /health` (the process is up), `GET /ready` (200 when an endpoint
can serve), `GET /metrics` (Prometheus), `GET /v1/models` (the models of the fleet).

This page is generated from the code (`python -m foretoken.reference`).
"""

# FastAPI's own form of errors, which is never sent.
_LEFT_OUT: Final = {"HTTPValidationError", "ValidationError"}
_METHODS: Final = ("get", "post", "put", "delete")


def openapi() -> dict[str, Json]:
    """Build a service and ask its control plane for its description; nothing is started."""
    service = build(Settings.model_validate({"endpoints": [{"url": "http://127.0.0.1:1"}]}))

    async def ask() -> dict[str, Json]:
        transport = httpx.ASGITransport(service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            answer = await client.get("/foretoken/openapi.json")
            document: dict[str, Json] = answer.raise_for_status().json()
            return document

    return asyncio.run(ask())


def openapi_text(document: Mapping[str, Json]) -> str:
    """Write the document as it is committed."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def api_page(document: Mapping[str, Json]) -> str:
    """Give the page of a document."""
    schemas = document["components"]["schemas"]
    lines = [_INTRODUCTION, "## Routes", ""]
    routes = list(_routes(document["paths"]))
    rows = (
        (
            f"`{method.upper()} {path}`",
            _first(route.get("description", "")),
            _body(route),
            _answer(route),
        )
        for path, method, route in routes
    )
    lines += table(("Route", "What it does", "Takes", "Gives"), rows)
    lines += ["", "`GET /foretoken/` is the live page.", ""]
    for path, method, route in routes:
        lines += _parameters(path, method, route)
    lines += ["## Shapes", ""]
    for name in sorted(schemas):
        if name not in _LEFT_OUT and "kind" not in schemas[name].get("properties", {}):
            lines += _shape(name, schemas[name])
    return "\n".join(lines).rstrip() + "\n"


def _routes(paths: Mapping[str, Json]) -> Iterator[tuple[str, str, Json]]:
    for path, methods in paths.items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def _first(text: str) -> str:
    return text.split("\n\n", 1)[0]


def _body(route: Json) -> str:
    content = route.get("requestBody", {}).get("content", {})
    return _type(content["application/json"]["schema"]) if "application/json" in content else ""


def _answer(route: Json) -> str:
    answers: Mapping[str, Json] = route["responses"]
    status = next(code for code in answers if code.startswith("2"))
    answer = answers[status]
    shapes = [_type(one.get("schema", {})) for one in answer.get("content", {}).values()]
    shown = next((shape for shape in shapes if shape), "")
    return shown if status == "200" else f"{status} {shown}".strip()


def _parameters(path: str, method: str, route: Json) -> list[str]:
    """Give the table of a route's parameters, where it has any but those of its path."""
    known = [one for one in route.get("parameters", ()) if one["in"] == "query"]
    if not known:
        return []
    rows = ((f"`{one['name']}`", _type(one["schema"]), _bounds(one["schema"])) for one in known)
    title = f"`{method.upper()} {path}`"
    return [f"Of {title}:", "", *table(("Query parameter", "Type", "Bounds"), rows), ""]


def _shape(name: str, schema: Json) -> list[str]:
    lines = [f"### {name}", ""]
    if "description" in schema:
        lines += [prose(_first(schema["description"])), ""]
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{field}`",
            _type(value),
            "required" if field in required else _shown(value.get("default")),
            value.get("description", ""),
        )
        for field, value in schema.get("properties", {}).items()
    ]
    return [*lines, *table(("Field", "Type", "Default", "Meaning"), rows), ""] if rows else lines


def _shown(value: Json) -> str:
    return "`null`" if value is None else f"`{json.dumps(value)}`"


def _type(schema: Json) -> str:
    """Give the type of a schema in one line, shapes as links.

    >>> _type({"type": "array", "items": {"$ref": "#/components/schemas/A"}})
    'list of [A](#a)'
    >>> _type({"anyOf": [{"type": "number"}, {"type": "null"}]})
    'number or null'
    """
    if schema.get("discriminator", {}).get("propertyName") == "kind":
        return "[policy](configuration.md#policies)"
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(map(_type, schema[several])))
    if "enum" in schema:
        return " or ".join(f'`"{one}"`' for one in schema["enum"])
    if "const" in schema:
        return f'`"{schema["const"]}"`'
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {})) or 'anything'}"
    if schema.get("type") == "object":
        inner = schema.get("additionalProperties")
        return f"{_type(inner)} by name" if isinstance(inner, dict) and inner else "object"
    return str(schema.get("type", ""))


def _bounds(schema: Json) -> str:
    """Say between which bounds a parameter may lie, and its default.

    >>> _bounds({"minimum": 1, "maximum": 200, "default": 50})
    '1 to 200, 50 by default'
    """
    told = []
    if "minimum" in schema and "maximum" in schema:
        told.append(f"{schema['minimum']} to {schema['maximum']}")
    if schema.get("default") is not None:
        told.append(f"{schema['default']} by default")
    return ", ".join(told)
