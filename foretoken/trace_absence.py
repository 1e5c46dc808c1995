"""Why nothing recorded can be read somewhere, for the commands that read traces.

A file counts once it is finished; what a running server is writing is there under a hidden
name, and whoever tries a command for the first time finds nothing else.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from collectors.trace_files import UNFINISHED


def absence(paths: Sequence[Path]) -> str | None:
    """Say why there is nothing to read, and what helps; ``None`` where a file is finished.

    Args:
        paths: Files or folders, all there.
    """
    if any(_is_finished(path) for path in paths):
        return None
    names = ", ".join(map(str, paths))
    unfinished = [one for path in paths for one in _unfinished(path)]
    if unfinished:
        more = "" if len(unfinished) == 1 else f", {len(unfinished)} such files in all,"
        return (
            f"nothing is finished yet: {max(unfinished)}{more} is still being written, or was "
            "left by a crash; stop the server or wait for traces.file_age_s (5 minutes by default)"
        )
    below = [path / "traces" for path in paths if (path / "traces").is_dir()]
    if below:
        return f"no trace file in {names}; did you mean {', '.join(map(str, below))}?"
    return (
        f"no trace file in {names}; foretoken serve records to the folder traces of its --data-dir"
    )


def _is_finished(path: Path) -> bool:
    if path.is_dir():
        return any(True for _ in path.glob("*.parquet"))
    return not path.match(UNFINISHED)


def _unfinished(path: Path) -> Iterable[Path]:
    if path.is_dir():
        return path.glob(UNFINISHED)
    return [path] if path.match(UNFINISHED) else []
