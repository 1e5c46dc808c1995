"""Write constructors into values, so that a compiled build has native classes of them.

Compiled code reads a native class's attribute in an instruction or two, and asks a struct
for it by name. Called by hatch_build.py with each module that is compiled.
"""

import ast
from collections.abc import Set


def natively(module: str, name: str) -> str:
    """Write constructors into a module's values.

    What is written takes the place of docstrings: every line keeps its number.

    Args:
        module: Its source.
        name: Of the module, for errors.

    Raises:
        ValueError: The module or a value has no docstring with an empty line after it, or a
            class says what compiled code would take in another way without a word.
    """
    tree = ast.parse(module)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    values = [one for one in classes if _derives(one, {"Value"})]
    lines = module.splitlines()
    try:
        for other in classes:
            if other not in values:
                _check_other(other, {value.name for value in values})
        if not values:
            return module
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


def _derives(node: ast.ClassDef, names: Set[str]) -> bool:
    return any(ast.unparse(base).rpartition(".")[2] in names for base in node.bases)


def _check_other(node: ast.ClassDef, values: Set[str]) -> None:
    """Refuse a class that is no value of ours, but would be one, or a struct, interpreted."""
    if _derives(node, values):
        raise ValueError(f"line {node.lineno}: derives from a value")
    if node.keywords:
        raise ValueError(f"line {node.lineno}: mypyc drops the keywords of a class")


def _write_constructor(value: ast.ClassDef, lines: list[str]) -> None:
    head = list(map(ast.unparse, [*value.decorator_list, *value.bases, *value.keywords]))
    if head not in (["Value"], ["Value", "kw_only=False"]):
        raise ValueError(f"line {value.lineno}: a value says no more than (Value, kw_only=False)")
    fields = [each for each in value.body if isinstance(each, ast.AnnAssign)]
    taken, kept, given = [], [], []
    for field in fields:
        name, kind = ast.unparse(field.target), ast.unparse(field.annotation)
        factory = _factory(field.value)
        if not factory and not _is_constant(field.value):
            raise ValueError(f"line {field.lineno}: values would share a default that can change")
        default = "" if field.value is None else f" = {ast.unparse(field.value)}"
        taken.append(f"{name}: {kind} | None = None" if factory else f"{name}: {kind}{default}")
        made = f"{factory}() if {name} is None else {name}" if factory else name
        kept.append(f"self.{name} = {made}")
        given.append(f"{name!r}: self.{name}")
        _replace(lines, field.lineno, field.end_lineno, f"    {name}: {kind}")
    taken = ["self", *taken] if value.keywords else ["self", "*", *taken]
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
    match default:
        case ast.Call(
            ast.Attribute(ast.Name("msgspec"), "field"), [], [ast.keyword("default_factory", made)]
        ):
            return ast.unparse(made)
    return None


def _is_constant(default: ast.expr | None) -> bool:
    """Tell whether nobody can change a default; names are taken to be of constants."""
    match default:
        case None | ast.Constant() | ast.Name():
            return True
        case ast.Tuple(elements):
            return all(map(_is_constant, elements))
        case _:
            return ast.unparse(default) == "frozenset()"


def _put(docstring: ast.stmt, lines: list[str], first: str, second: str) -> None:
    """Write two lines in place of a docstring and the empty line after it."""
    after = docstring.end_lineno or docstring.lineno
    if not isinstance(docstring, ast.Expr) or lines[after : after + 1] != [""]:
        raise ValueError(f"line {docstring.lineno}: no docstring with an empty line after it")
    _replace(lines, docstring.lineno, after + 1, first, second)


def _replace(lines: list[str], first: int, last: int | None, *written: str) -> None:
    """Write lines in place of others, of which there are as many or more."""
    count = (last or first) - first + 1
    lines[first - 1 : first - 1 + count] = [*written, *[""] * (count - len(written))]
