"""What is wrong with a configuration, said so that one can mend it.

Turns what pydantic reports into one line per setting: where it stands, what it is, what
it must be, and which name was probably meant. Called when a configuration is read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from foretoken.nearest import did_you_mean
from foretoken.setting_sections import NAME, Section, sections
from foretoken.toml_lines import Key, line_of

_LONGEST: Final = 60
"""Characters of a value that are shown."""
_CREDENTIALS: Final = re.compile(r"(?<=//)[^/\s'\"]+@")
"""Of a URL, who logs in and by which password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingProblem:
    """Hold one thing that is wrong.

    Attributes:
        path: The setting, empty where it is several or the whole file.
        text: What is wrong, for a person; names the setting and its value.
        line: Where in the file, ``None`` where it does not stand there.
    """

    path: str
    text: str
    line: int | None = None

    def __str__(self) -> str:
        """Give the text with its line."""
        return self.text if self.line is None else f"line {self.line}: {self.text}"


# Any: values are what a TOML file holds.
def problems_of(
    error: ValidationError,
    values: Mapping[str, Any],
    model: type[BaseModel],
    lines: Mapping[Key, int],
) -> tuple[SettingProblem, ...]:
    """Say what is wrong, a problem per setting, in the order of the file where that is known.

    Args:
        error: What validating ``values`` by ``model`` gave.
        values: What was validated.
        model: What validated it.
        lines: Where each key stands.
    """
    known = list(sections(model))
    found = []
    for details in error.errors():
        path = _without_tags(details["loc"], values)
        problem = _problem(details, path, known)
        found.append(replace(problem, line=line_of(lines, path or _named_in(problem.text, lines))))
    return tuple(sorted(found, key=lambda one: one.line or 0))


def _problem(details: ErrorDetails, path: Key, known: Sequence[Section]) -> SettingProblem:
    dotted = ".".join(map(str, path))
    message = details["msg"].removeprefix("Value error, ")
    say = _WORDED.get(details["type"])
    if details["type"] == "extra_forbidden":
        text = f"{dotted}: unknown setting{_meant(path, known)}"
    elif say is not None:
        text = f"{dotted}{_value(details['input'])}: {say(details)}"
    elif not path:
        text = message
    elif details["type"] == "missing":
        text = f"{dotted}: required, and not there"
    else:
        shown = _value(details["input"])
        message = _asked(message, details["input"]).replace("Input should be ", "must be ")
        text = f"{dotted}{shown}: {message.removeprefix(f'{shown[3:]} ') if shown else message}"
    return SettingProblem(path=dotted, text=without_credentials(text))


def _table(details: ErrorDetails) -> str:
    name = details["loc"][-1]
    return f"must be a table, as [{name}] begins one"


def _tables(details: ErrorDetails) -> str:
    name = details["loc"][-1]
    return f"must be a list; tables of it begin with [[{name}]]"


def _choice(details: ErrorDetails) -> str:
    expected = str(details["ctx"]["expected"])
    known = expected.replace("'", "").replace(" or ", ", ").split(", ")
    return f"must be {expected}{did_you_mean(str(details['input']), known)}"


def _kind(details: ErrorDetails) -> str:
    tags = str(details["ctx"]["expected_tags"]).replace("'", "").split(", ")
    given = str(details["ctx"]["tag"])
    return f"no kind {given!r}{did_you_mean(given, tags)} there are: {', '.join(tags)}"


def _no_kind(details: ErrorDetails) -> str:
    if details["loc"][0] == "discovery":
        return "needs a kind, as in kind = 'file'"
    return "a table of a policy needs a kind, as in kind = 'weighted_blend'"


def _too_few(details: ErrorDetails) -> str:
    return f"must have {details['ctx']['min_length']} or more"


def _number(details: ErrorDetails) -> str:
    seconds = str(details["loc"][-1]).endswith("_s")
    return "must be a number" + (" of seconds, without a unit" if seconds else "")


_WORDED: Final[Mapping[str, Callable[[ErrorDetails], str]]] = {
    "dict_type": _table,
    "float_parsing": _number,
    "float_type": _number,
    "int_parsing": _number,
    "int_type": _number,
    "literal_error": _choice,
    "model_attributes_type": _table,
    "model_type": _table,
    "too_short": _too_few,
    "tuple_type": _tables,
    "union_tag_invalid": _kind,
    "union_tag_not_found": _no_kind,
}


def _asked(message: str, given: object) -> str:
    """Ask what was meant where a message ends with the names that there are.

    >>> _asked("no such thing; there are: cat, dog", "cut")
    'no such thing; did you mean cat? there are: cat, dog'
    """
    start, listed, names = message.partition("; there are: ")
    meant = did_you_mean(str(given), names.split(", ")) if listed else ""
    return f"{start}{meant} there are: {names}" if meant else message


def _value(given: object) -> str:
    """Show a value; of a table its settings are told apart by what is said of it.

    >>> _value(70000), _value({"a": 1})
    (' = 70000', '')
    >>> _value("s3://key:secret@bucket")
    " = 's3://...@bucket'"
    """
    if isinstance(given, Mapping):
        return ""
    shown = without_credentials(repr(given))
    return f" = {shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + '...'}"


def without_credentials(text: str) -> str:
    """Take out who logs in to URLs, and how.

    >>> without_credentials("'http://me:secret@10.0.0.1:8000/v1' must end after the port")
    "'http://...@10.0.0.1:8000/v1' must end after the port"
    """
    return _CREDENTIALS.sub("...@", text)


def _meant(path: Key, known: Sequence[Section]) -> str:
    """Ask for the setting that was meant: one of the same table, or of the same name."""
    *table, name = path
    beside = [one.fields for one in known if _is_at(one.path, table)]
    near = did_you_mean(str(name), [field for fields in beside for field in fields])
    if near:
        return near
    elsewhere = [one for one in known if name in one.fields]
    elsewhere.sort(key=lambda one: "kind" in one.fields)  # of alternatives one may have none
    return f"; did you mean {_path(elsewhere[0], str(name))}?" if elsewhere else ""


def _is_at(section: Sequence[str], table: Sequence[str | int]) -> bool:
    named = [part for part in table if isinstance(part, str)]
    return len(section) == len(named) and all(
        known in {NAME, part, f"{part}[]"} for known, part in zip(section, named, strict=True)
    )


def _path(section: Section, name: str) -> str:
    return ".".join((*section.path, name))


def _without_tags(path: Sequence[str | int], values: Mapping[str, Any]) -> Key:
    """Leave out what pydantic adds to a path: the kind of an alternative, and ``[key]``.

    >>> given = {"discovery": [{"kind": "file", "file": "fleet.json"}]}
    >>> _without_tags(("discovery", 0, "file", "file"), given)
    ('discovery', 0, 'file')
    >>> _without_tags(("discovery", 0, "file", "files"), given)
    ('discovery', 0, 'files')
    """
    kept: Key = ()
    here: Any = values
    before: str | int | None = None
    for index, part in enumerate(path):
        inside = _step(here, part)
        is_kind = isinstance(before, int) and part == _step(here, "kind")
        is_added = is_kind or part == "[key]" or (inside is None and index < len(path) - 1)
        before = part
        if not is_added:
            kept, here = (*kept, part), inside
    return kept


# Any: as above.
def _step(here: Any, part: str | int) -> Any:  # noqa: ANN401
    if isinstance(here, Mapping):
        return here.get(part)
    if isinstance(here, list | tuple) and isinstance(part, int) and part < len(here):
        return here[part]
    return None


def _named_in(text: str, lines: Mapping[Key, int]) -> Key:
    """Give the first setting that a sentence about several names and the file has.

    >>> _named_in("scrape.interval_s = 5 must be more", {("scrape", "interval_s"): 2})
    ('scrape', 'interval_s')
    """
    paths = [tuple(word.rstrip(":,").split(".")) for word in text.split()]
    return next((path for path in paths if path in lines), ())
