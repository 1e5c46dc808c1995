"""What ``foretoken check-config`` finds: every mistake at once, and what differs from defaults.

Goes further than reading the file does at start in one thing: files that it names are
looked for, so that the start does not fail on the next one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from foretoken.errors import ConfigurationInvalid, StoreRefused
from foretoken.setting_problems import SettingProblem
from foretoken.settings import Settings, load_settings
from foretoken.stores import open_store
from foretoken.terminal import plain
from foretoken.toml_lines import Key, key_lines, line_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """Hold what was found.

    Attributes:
        path: The file.
        settings: What it says, ``None`` where it cannot be used at all.
        problems: What is wrong.
        notes: What is worth knowing and not wrong.
    """

    path: Path
    settings: Settings | None
    problems: tuple[SettingProblem, ...]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Give the document ``--json`` prints."""
        settings = self.settings
        return {
            "path": str(self.path),
            "valid": not self.problems,
            "problems": [
                {"path": one.path or None, "line": one.line, "text": one.text}
                for one in self.problems
            ],
            "notes": list(self.notes),
            "settings": None if settings is None else settings.model_dump(mode="json"),
        }


def check(path: Path) -> Checked:
    """Read a configuration file and look for everything that is wrong with it."""
    try:
        settings = load_settings(path)
    except ConfigurationInvalid as error:
        return Checked(path=path, settings=None, problems=error.found)
    lines = key_lines(path.read_text(encoding="utf-8-sig"))
    problems = tuple(
        SettingProblem(
            path=name, text=f"{name} = '{file}': {why}", line=line_of(lines, name.split("."))
        )
        for name, file, why in _unusable_files(settings)
    )
    problems += tuple(_unusable_store(settings, lines))
    named = settings.endpoints or settings.discovery
    notes = () if named else ("names no endpoint: serve then needs --endpoint",)
    return Checked(path=path, settings=settings, problems=problems, notes=notes)


def report(checked: Checked) -> tuple[Text, RenderableType]:
    """Say what was found, for people: a line that should not be broken, and the rest."""
    name, count = plain(str(checked.path)), len(checked.problems)
    table = Table(box=None, show_header=not count, padding=(0, 2, 0, 0))
    if count:
        what = "1 thing is wrong" if count == 1 else f"{count} things are wrong"
        table.add_column(no_wrap=True, style="dim")
        table.add_column()
        for one in checked.problems:
            where = "" if one.line is None else f"line {one.line}"
            table.add_row(where, Text(plain(one.text)))
        return Text(f"{name}: {what}", style="red"), table
    for heading in ("setting", "value", "default"):
        table.add_column(heading, overflow="fold")
    for path, value, default in differences(checked.settings or Settings(), Settings()):
        table.add_row(Text(path), Text(plain(str(value))), Text(plain(str(default))))
    all_default = Text("everything is as by default")
    notes = (Text(f"note: {note}") for note in checked.notes)
    rest = Group(*notes, table if table.row_count else all_default)
    return Text(f"{name}: valid", style="green"), rest


def differences(
    settings: BaseModel, default: BaseModel, prefix: str = ""
) -> Iterator[tuple[str, object, object]]:
    """Give path, value and default of every setting that is not as by default.

    >>> list(differences(Settings(seed=1), Settings()))
    [('seed', 1, 'not set')]
    """
    for name in type(settings).model_fields:
        yield from _differs(f"{prefix}{name}", getattr(settings, name), getattr(default, name))


def _differs(path: str, value: object, usual: object) -> Iterator[tuple[str, object, object]]:
    """Give what differs in one setting: tables key by key, lists one by one."""
    if value == usual:
        return
    if isinstance(value, BaseModel) and isinstance(usual, type(value)):
        yield from differences(value, usual, f"{path}.")
    elif isinstance(value, dict) and isinstance(usual, dict):
        for key in {**value, **usual}:
            yield from _differs(f"{path}.{key}", value.get(key), usual.get(key))
    elif isinstance(value, tuple) and isinstance(usual, tuple):
        for index, one in enumerate(value):
            yield from _differs(f"{path}.{index}", one, None)
    else:
        yield path, shown(value), shown(usual)


def shown(value: object) -> object:
    """Show a value as it would be written, models by what was set in them.

    >>> shown(Settings(seed=1)), shown(None), shown(True)
    ('seed = 1', 'not set', 'true')
    """
    match value:
        case None:
            return "not set"
        case bool():
            return str(value).lower()
        case BaseModel():
            given = ((name, getattr(value, name)) for name in type(value).model_fields)
            told = [f"{n} = {shown(v)}" for n, v in given if n in value.model_fields_set]
            return ", ".join(told) or "by default"
        case tuple() | list():
            return ", ".join(str(shown(one)) for one in value) or "none"
        case dict():
            return ", ".join(f"{key} = {shown(one)}" for key, one in value.items()) or "none"
    return value


def _unusable_store(settings: Settings, lines: Mapping[Key, int]) -> Iterator[SettingProblem]:
    """Say why no models can be kept where they should; nobody is asked over a network."""
    place = settings.store.directory
    if place is None:
        return
    try:
        open_store(place)
    except StoreRefused as error:
        name = "store.directory"
        yield SettingProblem(
            path=name, text=f"{name}: {error}", line=line_of(lines, tuple(name.split(".")))
        )


def _unusable_files(settings: Settings) -> Iterator[tuple[str, Path, str]]:
    """Name the files that must be there and are not."""
    proxy = settings.proxy
    named = {
        "proxy.tls_cert": proxy.tls_cert,
        "proxy.tls_key": proxy.tls_key,
        "proxy.upstream.ca_file": proxy.upstream.ca_file,
        "proxy.access.keys_file": proxy.access.keys_file,
        **{f"tokens.files.{model}": file for model, file in settings.tokens.files.items()},
    }
    for name, file in named.items():
        if file is not None and not file.is_file():
            yield name, file, "is not a file" if file.exists() else "no such file"
