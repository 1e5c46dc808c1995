"""Write the reference pages, or with ``--check`` say which of them are not as generated."""

import argparse
import sys
from pathlib import Path

from foretoken.reference.pages import pages, write_pages


def main() -> int:
    """Run the generator; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m foretoken.reference", description=__doc__)
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="folder of the pages")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where they differ"
    )
    arguments = parser.parse_args()
    if not arguments.check:
        for path in write_pages(arguments.docs):
            sys.stdout.write(f"{path}\n")
        return 0
    stale = [name for name, text in pages().items() if _read(arguments.docs / name) != text]
    for name in stale:
        sys.stderr.write(f"{arguments.docs / name} is not as generated\n")
    return 1 if stale else 0


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
