"""The page of all commands, made of the command line itself."""

from collections.abc import Iterator
from typing import Any, Final

import typer

from foretoken.cli import app
from foretoken.reference.markdown import prose, table

_STATUSES: Final = (
    ("0", "done"),
    (
        "1",
        "it failed: nobody answers, a port is taken, a disk is full, a file cannot be read; the "
        "same may go well another time. `check-config`: the file cannot be used",
    ),
    ("2", "wrong usage, or a configuration that cannot be used: trying again changes nothing"),
    (
        "3",
        "the question was answered, with no: `status`, not all is well; `explain`, `models show`, "
        "`endpoints drain` and the like, no such thing",
    ),
    ("130", "Ctrl-C"),
    ("143", "SIGTERM, of a demo"),
)

_INTRODUCTION: Final = """\
# Command line

`foretoken --help`, and `--help` of every command, say what stands here. `foretoken
--install-completion` sets up completion for bash, zsh, fish and PowerShell: commands, options,
and the names of policies, workloads, fleets, profiles and model versions.
"""

_CONVENTIONS: Final = """\
Errors are one line on standard error that says what to do. With `--json` standard output holds
JSON and nothing else; commands that work for long take a file there, or `-` for standard output,
and then show their tables on standard error. Progress bars appear on a terminal only. `NO_COLOR`
is heeded.

Commands that look at a running Foretoken find it by `--url` or `FORETOKEN_URL`; one on another
machine wants an admin's key in `FORETOKEN_API_KEY` ([access.md](access.md)).

This page is generated from the code (`python -m foretoken.reference`).
"""


def commands_page() -> str:
    """Give the page."""
    root = typer.main.get_command(app)
    lines = [_INTRODUCTION, *table(("Exit status", "Means"), _STATUSES), "", _CONVENTIONS]
    for path, command in _commands(root, ()):
        if not path:
            continue
        lines += [f"{'##' if len(path) == 1 else '###'} foretoken {' '.join(path)}", ""]
        lines += _help(command.help or "")
        lines += _parameters(command.params)
    return "\n".join(lines).rstrip() + "\n"


# Any: typer keeps its classes of commands and parameters to itself.
def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:  # noqa: ANN401
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from _commands(inner, (*path, name))


def _help(text: str) -> list[str]:
    r"""Give the words of a help text, and its examples as code.

    >>> _help("Do it.\n\nExample:\n  foretoken do")
    ['Do it.', '', '```', 'foretoken do', '```', '']
    """
    words, _, examples = text.partition("Example:")
    paragraphs = [prose(paragraph) for paragraph in words.split("\n\n")]
    lines = [line for paragraph in paragraphs if paragraph for line in (paragraph, "")]
    commands = [line.strip() for line in examples.splitlines() if line.strip()]
    return [*lines, "```", *commands, "```", ""] if commands else lines


# Any: as above.
def _parameters(parameters: list[Any]) -> list[str]:
    rows = [
        (_name(one), _kind(one), _default(one), one.help or "")
        for one in parameters
        if one.name not in {"help", "install_completion", "show_completion"}
    ]
    return [*table(("Option", "Value", "Default", "Meaning"), rows), ""] if rows else []


# Any: as above.
def _name(parameter: Any) -> str:  # noqa: ANN401
    if parameter.param_type_name == "argument":
        return f"`{parameter.name.upper()}`"
    return ", ".join(f"`{option}`" for option in parameter.opts)


_WORDS: Final = {"int": "integer", "float": "number", "str": "text", "Path": "path"}


# Any: as above.
def _kind(parameter: Any) -> str:  # noqa: ANN401
    described = parameter.type_descriptor
    if described.annotation is bool:
        return ""
    if described.choices:
        return ", ".join(f"`{choice}`" for choice in described.choices)
    inner = getattr(described.annotation, "__args__", (described.annotation,))[0]
    word = _WORDS.get(getattr(inner, "__name__", ""), "text")
    return f"{word}, repeatable" if parameter.multiple or parameter.nargs == -1 else word


# Any: as above.
def _default(parameter: Any) -> str:  # noqa: ANN401
    if parameter.required:
        return "required"
    value = parameter.default
    told = "" if value is None or value is False else f"`{value}`"
    return f"{told}, `{parameter.envvar}`".lstrip(", ") if parameter.envvar else told
