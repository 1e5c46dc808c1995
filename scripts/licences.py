"""Which licences the image's packages come under, and whether each is one we may pass on.

    python -m scripts.licences

Looks at what is installed beside this interpreter of all that deploy/requirements.lock
names. Exits with 1 where a licence is not on the list; what is not installed here is named.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

LOCK: Final = Path(__file__).parents[1] / "deploy" / "requirements.lock"
_PIN: Final = re.compile(r"^([A-Za-z0-9._-]+)==\S+ \\$", re.MULTILINE)

ALLOWED: Final = frozenset({
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",  # certifi: a list of certificates, passed on as it is
    "PSF-2.0",
    "Python-2.0",
    "Unlicense",
    "Zlib",
})  # fmt: skip
"""By their SPDX names: those that ask for a notice, and no more of whoever links to them."""

# How packages from before SPDX name them.
_MEANT: Final = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
    "dual license": "Apache-2.0 OR BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "python software foundation license": "PSF-2.0",
    "the unlicense (unlicense)": "Unlicense",
}


def is_allowed(licence: str) -> bool:
    """Judge what a package says of itself: an SPDX expression, or names it separates by ``;``.

    >>> is_allowed("Apache-2.0 OR GPL-3.0-only"), is_allowed("MIT AND GPL-3.0-only")
    (True, False)
    >>> is_allowed("BSD License"), is_allowed("UNKNOWN"), is_allowed("")
    (True, False, False)
    """
    named = _MEANT.get(licence.strip().lower(), licence.strip()).strip("()")
    if ";" in named:  # classifiers: which of them holds where is not said
        return all(is_allowed(each) for each in named.split(";"))
    if " OR " in named:
        return any(is_allowed(each) for each in named.split(" OR "))
    if " AND " in named:
        return all(is_allowed(each) for each in named.split(" AND "))
    return named in ALLOWED


def locked(text: str) -> list[str]:
    """List the packages that a lock names."""
    return _PIN.findall(text)


def licences_of(packages: Iterable[str]) -> dict[str, str]:
    """Look up the licences of those that are installed, by package."""
    told = subprocess.run(  # noqa: S603  # ours, and names out of our own lock
        [
            *(sys.executable, "-c", "from piplicenses import main; main()"),
            *("--format=json", "--from=mixed", "--packages", *packages),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return {each["Name"]: each["License"] for each in json.loads(told.stdout)}


def report(found: Mapping[str, str]) -> list[str]:
    """Tell which licences there are and who comes under each, those not allowed marked."""
    by_licence: dict[str, list[str]] = defaultdict(list)
    for name, licence in found.items():
        by_licence[licence].append(name)
    return [
        f"{'  ' if is_allowed(licence) else '! '}{licence}: {', '.join(sorted(names))}"
        for licence, names in sorted(by_licence.items())
    ]


def main() -> int:
    """Print the list; return 1 where one is not allowed."""
    packages = locked(LOCK.read_text())
    found = licences_of(packages)
    print(*report(found), sep="\n")
    here = {_tidy(name) for name in found}
    absent = [name for name in packages if _tidy(name) not in here]
    if absent:
        print(f"not installed here, so not looked at: {', '.join(absent)}")
    wrong = sorted(name for name, licence in found.items() if not is_allowed(licence))
    print(f"{len(found)} packages, {len(wrong)} under a licence that is not on the list")
    return 1 if wrong else 0


def _tidy(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    raise SystemExit(main())
