"""Log lines for people: one line a record, coloured where the terminal shows colours.

A finished request is told in the order in which one asks: how it ended, where, how long it
took against what was predicted, how much it was, and why there. Every other record is its
event and its fields.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from rich.color import ColorSystem
from rich.console import Console
from rich.style import Style

from proxy.request_log import EVENT as REQUEST

Fields = Mapping[str, object]

_DIM: Final = Style(dim=True)
_BOLD: Final = Style(bold=True)
_LEVELS: Final = {
    "DEBUG": Style(color="cyan"),
    "INFO": Style(color="blue"),
    "WARNING": Style(color="yellow"),
    "ERROR": Style(color="red", bold=True),
    "CRITICAL": Style(color="red", bold=True, reverse=True),
}
_GOOD, _FAIR, _BAD = Style(color="green"), Style(color="yellow"), Style(color="red")
_OUTCOMES: Final = {"completed": _GOOD, "client_gone": _FAIR, "client_error": _FAIR}
_COLOURS: Final = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
}


class ConsoleFormatter(logging.Formatter):
    """Write one readable line a record.

    Args:
        fields: Gives what was passed with a record, without what is unknown.
        colours: What the terminal shows, ``None`` for no colours.
    """

    def __init__(
        self,
        fields: Callable[[logging.LogRecord], Fields],
        colours: ColorSystem | None = None,
    ) -> None:
        super().__init__()
        self._fields = fields
        self._colours = colours

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as one line, and its traceback below, if it has one."""
        told, event = self._fields(record), record.getMessage()
        clock = self.formatTime(record, "%H:%M:%S")
        level = self._paint(f"{record.levelname.lower():7}", _LEVELS.get(record.levelname, _BOLD))
        if event == REQUEST:
            text = self._request(told)
        else:
            pairs = (f"{self._paint(f'{n}=', _DIM)}{_short(v)}" for n, v in told.items())
            text = " ".join((self._paint(event, _BOLD), *pairs))
        line = f"{self._paint(clock, _DIM)} {level} {text}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line

    def _request(self, told: Fields) -> str:
        outcome = str(told.get("outcome"))
        refused = told.get("refused")
        ended = outcome if refused is None else f"{outcome} {_short(refused)}"
        parts = [
            self._paint(f"{ended:9}", _OUTCOMES.get(outcome, _BAD)),
            _short(told.get("endpoint") or "-"),
            _short(told.get("model")),
            *request_parts(told),
            self._paint(f"id {_short(told.get('request_id'))}", _DIM),
        ]
        return "  ".join(parts)

    def _paint(self, text: str, style: Style) -> str:
        return style.render(text, color_system=self._colours) if self._colours else text


def colours_of(console: Console) -> ColorSystem | None:
    """Find out what a terminal shows; ``None`` where it is none, or colours are not wanted."""
    return None if console.no_color else _COLOURS.get(console.color_system or "")


def request_parts(told: Fields) -> Iterator[str]:
    """Tell what is known of a finished request, in the order in which one asks.

    >>> list(request_parts({"ttft_s": 0.0138, "predicted_upstream_ttft_s": 0.0157,
    ...                     "output_tokens": 8, "prompt_tokens": 99, "reason": "predicted"}))
    ['ttft 13.8 ms (15.7 ms predicted)', '99 + 8 tokens', 'predicted']
    """
    if (told.get("queued_s") or 0.0) != 0.0:
        yield f"waited {seconds(told['queued_s'])} ({_short(told.get('waited_for'))})"
    for name, predicted in (
        ("ttft", "predicted_upstream_ttft_s"),
        ("tpot", "predicted_tpot_s"),
        ("e2e", ""),
    ):
        actual = told.get(f"{name}_s")
        if actual is not None:
            said = told.get(predicted)
            beside = "" if said is None else f" ({seconds(said)} predicted)"
            yield f"{name} {seconds(actual)}{beside}"
    yield from _sizes(told)
    if told.get("attempts") not in {None, 0, 1}:
        yield f"{told['attempts']} attempts"
    if told.get("tier") is not None:
        yield f"tier {_short(told['tier'])}"
    why = ": ".join(_short(told[name]) for name in ("policy", "reason") if name in told)
    if why:
        yield why
    if told.get("status") not in {None, 200}:
        yield f"status {told['status']}"


def _sizes(told: Fields) -> Iterator[str]:
    prompt, output = told.get("prompt_tokens"), told.get("output_tokens")
    if prompt is not None or output is not None:
        cached = told.get("cached_tokens")
        hit = "" if not cached else f", {cached} cached"
        yield f"{_count(prompt)} + {_count(output)} tokens{hit}"


def _count(tokens: object) -> str:
    return "?" if tokens is None else str(tokens)


def seconds(value: object) -> str:
    """Give a time in the unit one would say it in.

    >>> seconds(0.0138), seconds(1.234), seconds(75.0)
    ('13.8 ms', '1.23 s', '75.0 s')
    """
    if not isinstance(value, int | float):
        return _short(value)
    if abs(value) < 1.0:
        return f"{value * 1e3:.1f} ms"
    return f"{value:.2f} s" if abs(value) < 10.0 else f"{value:.1f} s"


def _short(value: object) -> str:
    r"""Give a value on one line, whatever a client has written into a name.

    >>> _short(0.123456), _short("a\nb")
    ('0.1235', 'a\\nb')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    return text if text.isprintable() else text.encode("unicode_escape").decode()
