"""The settings as one list of sections: what the reference prints and errors look names up in.

Read from the models themselves: types, defaults and bounds from pydantic, meanings from
the docstrings below the fields, of which pydantic keeps nothing at run time.
"""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

NAME: Final = "NAME"
"""Stands in a path for a key that people choose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Hold one table of the configuration.

    Attributes:
        path: Its keys; ``[]`` after one says that there may be several tables of it.
        model: What validates it.
    """

    path: tuple[str, ...]
    model: type[BaseModel]

    @property
    def fields(self) -> dict[str, FieldInfo]:
        """Give its own keys, sections below it included."""
        return self.model.model_fields


def sections(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Section]:
    """Give a model's section and all below it, in the order of their declaration.

    Alternatives, as those of a policy, come one after another under the same path.
    """
    yield Section(path=path, model=model)
    for name, field in model.model_fields.items():
        suffix, found = below(field.annotation)
        inner = (*path, name + suffix) if suffix in {"", "[]"} else (*path, name, suffix)
        for one in found:
            yield from sections(one, inner)


# Any: annotations are of every kind; isinstance tells them apart.
def below(annotation: Any) -> tuple[str, list[type[BaseModel]]]:  # noqa: ANN401
    """Give the models an annotation holds, and how their tables are named.

    Returns:
        Empty for one table, ``[]`` for several, :data:`NAME` for a table by name; and the
        models, none for a plain value.
    """
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "", [annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return below(arguments[0])
    if origin in {Union, UnionType}:
        return "", [model for one in arguments for model in below(one)[1]]
    if origin is tuple:
        return "[]", below(arguments[0])[1]
    if origin is dict:
        return NAME, below(arguments[1])[1]
    return "", []


@cache
def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Give what the docstrings below a model's fields say, in one line each."""
    found: dict[str, str] = {}
    for base in model.__bases__:
        if issubclass(base, BaseModel) and base is not BaseModel:
            found |= meanings(base)
    tree = ast.parse(inspect.getsource(model))
    (declared,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    for field, after in zip(declared.body, declared.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[field.target.id] = " ".join(after.value.value.split())
    return found
