"""Prometheus' rule files, written down.

Called by :mod:`dashboards.alerts` and :mod:`dashboards.recording`.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Final

_HEAD: Final = "# Written by `make dashboards`; edit {module}."


def rule_file(module: str, groups: Iterable[tuple[str, str | None, Iterable[str]]]) -> str:
    """Write a rule file.

    Args:
        module: Where people change it.
        groups: Name, evaluation interval (``None`` for Prometheus' own) and rules of each.
    """
    lines = [_HEAD.format(module=module), "groups:"]
    for name, interval, rules in groups:
        lines.append(f"  - name: {name}")
        if interval is not None:
            lines.append(f"    interval: {interval}")
        lines.append("    rules:")
        lines += rules
    return "\n".join(lines) + "\n"


def rule(fields: Mapping[str, str | Mapping[str, str]]) -> str:
    r"""Write one rule of a group.

    >>> print(rule({"record": "a:b", "expr": "sum(b)", "labels": {"x": "y"}}))
          - record: "a:b"
            expr: "sum(b)"
            labels:
              x: "y"
    """
    lines = []
    for name, value in fields.items():
        if isinstance(value, str):
            lines.append(f"{name}: {quoted(value)}")
        else:
            lines.append(f"{name}:")
            lines += [f"  {key}: {quoted(text)}" for key, text in value.items()]
    first, *rest = lines
    return "\n".join([f"      - {first}", *(f"        {line}" for line in rest)])


def quoted(text: str) -> str:
    r"""Quote a scalar; a JSON string is one in YAML too.

    >>> print(quoted('say "yes"'))
    "say \"yes\""
    """
    return json.dumps(text, ensure_ascii=False)
