"""The page of all settings, made of the models that validate them."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from foretoken.reference.markdown import prose, table
from foretoken.service import RELOADABLE
from foretoken.setting_sections import NAME, Section, below, meanings, sections
from foretoken.settings import Settings

_INTRODUCTION: Final = """\
# Configuration

One TOML file, `foretoken serve --config foretoken.toml`; `deploy/foretoken.toml` is an example.
Nothing has to be set but where the endpoints are, and that by a flag as well. `foretoken
check-config FILE` says everything that is wrong with a file, with line and the name that was
meant, and of a right one what differs from the defaults below. Flags lie over the file. Secrets
stand in the environment or in a file of their own, never here ([access.md](access.md)).

Times are seconds, shares fractions from 0 to 1. *Not set* is written by leaving the key out.

`endpoints` and `scheduler` take effect without a restart: when the file changes, on SIGHUP, or by
`POST /foretoken/reload`. A change anywhere else is refused then, by name, and the configuration
in force stays.

This page is generated from the code (`python -m foretoken.reference`).
"""

_POLICIES: Final = """\
## Policies

`scheduler.policy`, `fallback`, `shadow` and `canary.policy` take the name of a policy, or a table
with a `kind` and settings:

```toml
[scheduler]
policy = "lmetric"

[scheduler.fallback]
kind = "prefix_affinity"
max_penalty_s = 5.0
```

[policies.md](policies.md) says what each does.
"""

# Longest first: a rate is no count.
_UNITS: Final = {
    "_per_minute": "a minute",
    "_per_s": "a second",
    "_log": "log seconds",
    "_ratio": "share",
    "_share": "share",
    "_bytes": "bytes",
    "_blocks": "blocks",
    "_tokens": "tokens",
    "_rows": "rows",
    "_requests": "requests",
    "_s": "seconds",
}


def settings_page() -> str:
    """Give the page."""
    lines = [_INTRODUCTION]
    policies: dict[type[BaseModel], Section] = {}
    seen: set[type[BaseModel]] = set()
    for section in sections(Settings):
        if "kind" in section.fields and section.path[0] == "scheduler":
            policies.setdefault(section.model, section)
        elif section.model not in seen:
            seen.add(section.model)
            lines += _section(section)
    lines.append(_POLICIES)
    for section in policies.values():
        kinds = ", ".join(f"`{kind}`" for kind in get_args(section.fields["kind"].annotation))
        lines += [f"### {kinds}", "", _purpose(section.model), "", *_table(section), ""]
    return "\n".join(lines).rstrip() + "\n"


def _section(section: Section) -> list[str]:
    """Give a section's heading, what it is for, and its table."""
    if not section.path:
        title, level = "Top level", "##"
    else:
        title, level = _title(section), "##" if len(section.path) == 1 else "###"
    restart = section.path[:1] and not _reloads(section.path)
    told = "" if not section.path else _reload_note(restart=bool(restart))
    rows = _table(section)
    return [
        f"{level} {title}",
        "",
        f"{_purpose(section.model)}{told}",
        "",
        *rows,
        *([""] if rows else []),
    ]


def _title(section: Section) -> str:
    kind = section.fields.get("kind")
    chosen = "" if kind is None else f'` with `kind = "{get_args(kind.annotation)[0]}"'
    return f"`{_header(section.path)}{chosen}`"


def _reload_note(*, restart: bool) -> str:
    return " Needs a restart." if restart else " Takes effect on reload."


def _header(path: tuple[str, ...]) -> str:
    """Give the line that begins a section's table in TOML.

    >>> _header(("endpoints[]",)), _header(("scheduler", "tiers", "NAME"))
    ('[[endpoints]]', '[scheduler.tiers.NAME]')
    """
    dotted = ".".join(part.removesuffix("[]") for part in path)
    return f"[[{dotted}]]" if path[-1].endswith("[]") else f"[{dotted}]"


def _reloads(path: tuple[str, ...]) -> bool:
    return ".".join(path).replace("[]", "").startswith(tuple(n.rstrip(".") for n in RELOADABLE))


def _purpose(model: type[BaseModel]) -> str:
    """Give the first line of a section's docstring."""
    return prose((model.__doc__ or "").strip().split("\n", 1)[0])


def _table(section: Section) -> list[str]:
    said = meanings(section.model)
    rows = [
        (
            f"`{name}`",
            _type(name, field),
            _default(field),
            _range(field),
            said.get(name, ""),
        )
        for name, field in section.fields.items()
        if name != "kind" and not _is_section(field)
    ]
    return table(("Setting", "Type", "Default", "Range", "Meaning"), rows) if rows else []


def _is_section(field: FieldInfo) -> bool:
    suffix, models = below(field.annotation)
    return not suffix and len(models) == 1 and not _is_optional(field.annotation)


# Any: annotations are of every kind.
def _is_optional(annotation: Any) -> bool:  # noqa: ANN401
    return type(None) in get_args(annotation)


def _type(name: str, field: FieldInfo) -> str:
    """Give a type in TOML's words, and the unit that the name says."""
    kind = _word(field.annotation)
    unit = next((unit for end, unit in _UNITS.items() if name.endswith(end)), "")
    return f"{kind}, {unit}" if unit and kind in {"integer", "number"} else kind


_WORDS: Final = {int: "integer", float: "number", bool: "boolean", str: "text", Path: "path"}


# Any: as above.
def _word(annotation: Any) -> str:  # noqa: ANN401
    suffix, models = below(annotation)
    if models:
        if len(models) > 1 and not suffix:
            return "policy"
        return {"": "table", "[]": "tables", NAME: "tables by name"}[suffix]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if origin is Annotated:
        return _word(arguments[0])
    if origin is dict:
        return f"table of {_word(arguments[1])}s"
    if origin is tuple:
        return f"list of {_word(arguments[0])}"
    known = [one for one in arguments if one is not type(None)]
    return " or ".join(map(_word, known)) if known else _WORDS[annotation]


def _default(field: FieldInfo) -> str:
    if field.default_factory is None and field.default is PydanticUndefined:
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "not set" if value is None or value in ((), {}) else f"`{_toml(value)}`"


def _toml(value: object) -> str:
    """Write a value as in TOML; a policy that has nothing set is its name.

    >>> _toml(True), _toml(67108864), _toml("a"), _toml(0.5)
    ('true', '67_108_864', '"a"', '0.5')
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return f"{value:_}" if abs(value) >= 100_000 else str(value)
        case str() | Path():
            return f'"{value}"'
        case BaseModel():
            given = {name: getattr(value, name) for name in type(value).model_fields}
            told = {n: v for n, v in given.items() if n in value.model_fields_set}
            if set(told) <= {"kind"} and "kind" in given:
                return _toml(given["kind"])
            return _toml(told)
        case dict():
            inside = ", ".join(f"{key} = {_toml(one)}" for key, one in value.items())
            return f"{{{inside}}}"
    return str(value)


def _range(field: FieldInfo) -> str:
    """Say between which bounds a value may lie."""
    low, high = "", ""
    for bound in field.metadata:
        match bound:
            case annotated_types.Ge():
                low = f"{_amount(bound.ge)}"
            case annotated_types.Gt():
                low = f"above {_amount(bound.gt)}"
            case annotated_types.Le():
                high = f"{_amount(bound.le)}"
            case annotated_types.Lt():
                high = f"below {_amount(bound.lt)}"
            case annotated_types.MaxLen():
                return f"up to {bound.max_length} characters"
    if low and high:
        return f"{low} to {high}"
    if low:
        return low if low.startswith("above") else f"at least {low}"
    return f"up to {high}" if high else ""


def _amount(bound: object) -> str:
    """Write a bound as it can be read.

    >>> _amount(65535), _amount(0.05), _amount(86400), _amount(60.0)
    ('65535', '0.05', '86400', '60')
    """
    if isinstance(bound, int | float):
        return f"{bound:_}" if bound >= 100_000 and isinstance(bound, int) else f"{bound:.12g}"
    return str(bound)
