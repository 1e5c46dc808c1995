"""How log records are written: JSON lines for machines, readable ones for people.

Records are a constant event name plus fields given by ``extra``; both formats show
all of them. Prompts, outputs and keys are never logged anywhere. Whatever happens to
standard error, nobody who logs waits or fails (:mod:`foretoken.log_lines`).
"""

import json
import logging
import sys
from typing import Final, Literal

from foretoken.log_lines import LogLines

LogFormat = Literal["auto", "json", "console"]

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}
_LAST_WORDS_S: Final = 1.0
"""How long the end of the process waits for a reader who takes nothing."""


def fields(record: logging.LogRecord) -> dict[str, object]:
    """Give what was passed as ``extra``, without what is unknown."""
    return {
        name: value
        for name, value in record.__dict__.items()
        if name not in _STANDARD and value is not None
    }


class JsonFormatter(logging.Formatter):
    """Write one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the record as JSON."""
        envelope: dict[str, object] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line = envelope | fields(record) | envelope  # which no field takes the place of
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class LinesHandler(logging.Handler):
    """Write records at once, behind the request lines that wait.

    Args:
        lines: Where to.
    """

    def __init__(self, lines: LogLines) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  # as logging's own handlers do: who logs never fails
            self.handleError(record)
        else:
            self._lines.write(line.encode(errors="backslashreplace"))

    def close(self) -> None:
        """Write what is left, at the end of the process."""
        self._lines.flush(patience_s=_LAST_WORDS_S)
        super().close()


def configure(log_format: LogFormat, level: str) -> LogLines | None:
    """Send every record of this process to standard error.

    Returns:
        Where request lines go that are JSON already. ``None`` where people read, or where
        standard error is no descriptor: there requests are records like all others.
    """
    if log_format == "auto":
        log_format = "console" if sys.stderr.isatty() else "json"
    lines = _open_lines()
    handler = logging.StreamHandler() if lines is None else LinesHandler(lines)
    handler.setFormatter(JsonFormatter() if log_format == "json" else _for_people())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # One line a scrape, five times a second, says nothing; uvicorn's are said better here.
    for chatty in ("httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return lines if log_format == "json" else None


def _for_people() -> logging.Formatter:
    # What writes JSON need not load what colours lines.
    from rich.console import Console  # noqa: PLC0415  # as above

    from foretoken.console_lines import ConsoleFormatter, colours_of  # noqa: PLC0415  # as above

    return ConsoleFormatter(fields, colours_of(Console(stderr=True)))


def _open_lines() -> LogLines | None:
    try:
        return LogLines(sys.stderr.fileno())
    except OSError:  # somebody has put an object of theirs in its place
        return None
