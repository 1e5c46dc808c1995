"""Write constructors into values, so that a compiled build has native classes of them.

Compiled code reads a native class's attribute in an instruction or two, and asks a struct
for it by name. Called by hatch_build.py with each module that is compiled.
"""

import ast


def natively(module: str, name: str) -> str:
    """Write constructors into a module's values.

    What is written takes the place of docstrings: every line keeps its number.

    Args:
        module: Its source.
        name: Of the module, for errors.

    Raises:
        ValueError: The module or a value has no docstring with an empty line after it.
    """
    tree = ast.parse(module)
    values = [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_value(node)]
    if not values:
        return module
    lines = module.splitlines()
    try:
        for value in values:
            _write_constructor(value, lines)
        _put(
            tree.body[0],
            lines,
            "from typing import TYPE_CHECKING as _TYPE_CHECKING",
            "if _TYPE_CHECKING: from mypy_extensions import mypyc_attr as _mypyc_attr",
        )
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return "\n".join([*lines, ""])


def _is_value(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Value" for base in node.bases)


def _write_constructor(value: ast.ClassDef, lines: list[str]) -> None:
    fields = [each for each in value.body if isinstance(each, ast.AnnAssign)]
    taken, kept, given = [], [], []
    for field in fields:
        name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
        factory = _factory(field.value)
        default = "" if field.value is None else f" = {ast.unparse(field.value)}"
        taken.append(f"{name}: {kind} | None = None" if factory else f"{name}: {kind}{default}")
        made = f"{factory}() if {name} is None else {name}" if factory else name
        kept.append(f"self.{name} = {made}")
        given.append(f"{name!r}: self.{name}")
        _replace(lines, field.lineno, field.end_lineno, f"    {name}: {kind}")
    by_place = any(word.arg == "kw_only" for word in value.keywords)  # kw_only=False
    taken = ["self", *taken] if by_place else ["self", "*", *taken]
    _put(
        value.body[0],
        lines,
        f"    def __init__({', '.join(taken)}) -> None: {'; '.join(kept)}",
        f"    def fields(self) -> dict[str, object]: return {{{', '.join(given)}}}",
    )
    _replace(lines, value.lineno, value.body[0].lineno - 1, f"class {value.name}(Value):")
    lines[value.lineno - 2] = "@_mypyc_attr(acyclic=True)"


def _factory(default: ast.expr | None) -> str | None:
    """Give what makes a field's default where each value has its own."""
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "msgspec.field":
        return ast.unparse(default.keywords[0].value)
    return None


def _put(docstring: ast.stmt, lines: list[str], first: str, second: str) -> None:
    """Write two lines in place of a docstring and the empty line after it."""
    after = docstring.end_lineno or docstring.lineno
    if not isinstance(docstring, ast.Expr) or lines[after]:
        raise ValueError(f"line {docstring.lineno}: no docstring with an empty line after it")
    _replace(lines, docstring.lineno, after + 1, first, second)


def _replace(lines: list[str], first: int, last: int | None, *written: str) -> None:
    """Write lines in place of others, of which there are as many or more."""
    count = (last or first) - first + 1
    lines[first - 1 : first - 1 + count] = [*written, *[""] * (count - len(written))]
