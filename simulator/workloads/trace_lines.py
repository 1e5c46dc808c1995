"""Lines of a trace file, plain or gzipped, and typed values from them.

Decides how a file that cannot be read is reported: by file, line and limit. Called by
the parsers of every format.
"""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec

from simulator.errors import WorkloadInvalid
from simulator.workloads.lengths import MOST_TOKENS

MOST_SECONDS: Final = 1e10
"""Latest time and longest wait taken for real: epoch seconds of the year 2286."""

MOST_LINE_BYTES: Final = 1 << 26
"""Longest line; a session of a thousand requests with long prompts takes under 1 MiB."""

PromptTokens = Annotated[int, msgspec.Meta(ge=1, le=MOST_TOKENS)]
OutputTokens = Annotated[int, msgspec.Meta(ge=0, le=MOST_TOKENS)]
"""0 is recorded where an answer was empty; it is replayed as 1."""
Seconds = Annotated[float, msgspec.Meta(ge=0.0, le=MOST_SECONDS)]
BlockId = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
BlockTokens = Annotated[int, msgspec.Meta(ge=1, le=65_536)]

Row = TypeVar("Row")

_GZIP_MAGIC: Final = b"\x1f\x8b"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers from 1.

    A byte order mark, as some editors put before the first, is left out.

    Raises:
        WorkloadInvalid: The file cannot be read, holds nothing, is truncated, or has a
            line above ``MOST_LINE_BYTES``.
    """
    number = 0
    empty = True
    try:
        with path.open("rb") as plain:
            packed = plain.read(2) == _GZIP_MAGIC
            plain.seek(0)
            with gzip.GzipFile(fileobj=plain) if packed else plain as file:
                while line := file.readline(MOST_LINE_BYTES + 1):
                    number += 1
                    if len(line) > MOST_LINE_BYTES:
                        problem = f"is longer than {MOST_LINE_BYTES} bytes"
                        raise WorkloadInvalid(str(path), problem, line=number)
                    if number == 1:
                        line = line.removeprefix(_BYTE_ORDER_MARK)
                    if line.strip():
                        empty = False
                        yield number, line
    except EOFError as error:
        raise WorkloadInvalid(str(path), "gzip ends too early", line=number + 1) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise WorkloadInvalid(str(path), f"is no sound gzip: {error}", line=number + 1) from error
    except OSError as error:
        raise WorkloadInvalid(str(path), error.strerror or str(error)) from error
    if empty:
        raise WorkloadInvalid(str(path), "holds no line")


def read_json(path: Path, form: type[Row]) -> Iterator[tuple[int, Row]]:
    """Yield each line as a value of ``form``.

    Raises:
        WorkloadInvalid: As ``read_lines``, or a line does not parse or breaks a bound.
    """
    decode: Callable[[bytes], Row] = msgspec.json.Decoder(form).decode
    for number, line in read_lines(path):
        try:
            row = decode(line)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise WorkloadInvalid(str(path), str(error), line=number) from error
        yield number, row


def read_csv(path: Path, form: type[Row]) -> Iterator[tuple[int, Row]]:
    """Yield each row below the header as a value of ``form``; empty cells are absent.

    Raises:
        WorkloadInvalid: As ``read_json``, a row is shorter or longer than the header, or
            the header names a column twice.
    """
    names: list[str] = []
    for number, line in read_lines(path):
        try:
            cells = next(csv.reader([line.decode()]))
        except (UnicodeDecodeError, csv.Error) as error:
            raise WorkloadInvalid(str(path), str(error), line=number) from error
        if not names:
            names = [cell.strip() for cell in cells]
            if len(set(names)) < len(names):
                raise WorkloadInvalid(str(path), "names a column twice", line=number)
            continue
        if len(cells) != len(names):
            problem = f"has {len(cells)} cells where the header has {len(names)}"
            raise WorkloadInvalid(str(path), problem, line=number)
        filled = {name: cell for name, cell in zip(names, cells, strict=True) if cell.strip()}
        try:
            row = msgspec.convert(filled, form, strict=False)
        except msgspec.ValidationError as error:
            raise WorkloadInvalid(str(path), str(error), line=number) from error
        yield number, row
