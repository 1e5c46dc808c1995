r"""What the events of one stream have in common: all but the text.

Between its first and its last token a stream is the same event over and over around another
text. One event is looked into; of the next ones the bytes before and after the text are
compared, and the text, a few bytes, is looked through for what would end it. So whatever
fits is what the first one was, an event of tokens alone, whoever writes it and however.
Called by :mod:`collectors.stream`, which looks into events.
"""

import re
from typing import Final

_TEXT: Final = re.compile(
    rb'"(?:content|text|reasoning|reasoning_content|arguments)"\s*:\s*"((?:[^"\\\n]|\\.)*)"'
)
_MOST_TEXT: Final = 64
"""Bytes that are looked through one by one; searching is faster in longer texts."""
_MOST_MISSES: Final = 4
"""In a row; a stream whose events differ in more than a text is searched instead."""
_QUOTE: Final = 0x22
_BACKSLASH: Final = 0x5C
_NEWLINE: Final = 0x0A


class EventForm:
    r"""Know an event again by what is around its text, whatever frames it included.

    >>> form = EventForm()
    >>> form.learn(b'data: {"text":"a"}\n\n', 0)
    >>> form.fits(b'data: {"text":" new"}\n\n', 0), form.fits(b'data: {"text":"\\""}\n\n', 0)
    (True, True)
    >>> form.fits(b'data: {"text":"", "usage":"a"}\n\n', 0)
    False
    """

    __slots__ = ("_after", "_before", "_misses")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._misses = 0

    def learn(self, data: bytes, start: int) -> None:
        """Take the bytes from an index to the end for the form of those to come."""
        if self._misses >= _MOST_MISSES:
            return
        self._misses += 1
        text = _TEXT.search(data, start)
        if text is not None:
            self._before, self._after = data[start : text.start(1)], data[text.end(1) :]

    def fits(self, data: bytes, start: int) -> bool:
        """Tell whether the bytes from an index to the end are what was learned, text aside."""
        before, after = self._before, self._after
        at = start + len(before)
        end = len(data) - len(after)
        if not before or not at <= end <= at + _MOST_TEXT:
            return False
        if not data.endswith(after) or data[start:at] != before:
            return False
        while at < end:
            byte = data[at]
            if byte in (_QUOTE, _NEWLINE):
                return False
            at += 2 if byte == _BACKSLASH else 1  # with what that escapes
        if at > end:
            return False
        self._misses = 0
        return True
