"""Say what pip-audit found: ``python -m scripts.audited SERVICE REPORT``.

Exit status: 0 nothing is known against what was looked at, 1 something is, 2 nothing could be
looked at.
"""

import json
import sys
from pathlib import Path
from typing import Any


# Any: JSON of another program.
def judged(report: dict[str, Any], service: str) -> tuple[int, list[str]]:
    """Give the exit status, and lines for people.

    >>> judged({"dependencies": [{"name": "a", "version": "1", "vulns": []}]}, "pypi")
    (0, ['pypi: 1 of 1 packages looked at, 0 vulnerabilities'])
    >>> judged({"dependencies": [{"name": "a", "skip_reason": "not found"}]}, "pypi")[0]
    2
    """
    told = report.get("dependencies", [])
    seen = [each for each in told if "skip_reason" not in each]
    against = [(each, vuln) for each in seen for vuln in each["vulns"]]
    lines = [
        f"! {each['name']} {each['version']}: {vuln['id']}, "
        f"fixed in {', '.join(vuln['fix_versions']) or 'no version'}"
        for each, vuln in against
    ]
    many = f"{len(seen)} of {len(told)} packages looked at, {len(against)} vulnerabilities"
    lines.append(f"{service}: {many}")
    return (2 if not seen else 1 if against else 0), lines


def main(service: str, path: Path) -> int:
    """Print what a report says."""
    try:
        status, lines = judged(json.loads(path.read_text()), service)
    except ValueError:  # it ended without one
        return 2
    print(*lines, sep="\n")
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1], Path(sys.argv[2])))
