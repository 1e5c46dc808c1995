"""What the image installs is pinned: every requirement, by a version that fits, with hashes."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "deploy" / "requirements.lock"
BUILD = ROOT / "deploy" / "build.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
IMAGE = {"python_version": "3.11", "python_full_version": "3.11.9", "sys_platform": "linux"}


def pinned(path: Path) -> dict[str, str]:
    """Give the versions of a lock file by name."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+) \\$", path.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def wanted(lines: list[str], extra: str = "") -> Iterator[Requirement]:
    """Give what holds in the image, other extras of ours opened."""
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate(IMAGE | {"extra": extra}):
            continue
        if requirement.name == "foretoken":
            for name in requirement.extras:
                yield from wanted(PROJECT["project"]["optional-dependencies"][name])
        else:
            yield requirement


def of_image() -> list[Requirement]:
    return [
        *wanted(PROJECT["project"]["dependencies"]),
        *wanted(PROJECT["project"]["optional-dependencies"]["image"]),
    ]


def of_build() -> list[Requirement]:
    hook = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]
    return list(wanted([*PROJECT["build-system"]["requires"], *hook["dependencies"]]))


@pytest.mark.parametrize(
    ("path", "requirements"), [(LOCK, of_image()), (BUILD, of_build())], ids=["image", "build"]
)
def test_the_lock_satisfies_the_project(path: Path, requirements: list[Requirement]) -> None:
    versions = pinned(path)

    missing = [str(each) for each in requirements if canonicalize_name(each.name) not in versions]
    unfit = [
        f"{each} is pinned to {versions[canonicalize_name(each.name)]}: say scripts/lock.sh"
        for each in requirements
        if canonicalize_name(each.name) in versions
        and not each.specifier.contains(versions[canonicalize_name(each.name)], prereleases=True)
    ]

    assert requirements
    assert (missing, unfit) == ([], [])


@pytest.mark.parametrize("path", [LOCK, BUILD], ids=["image", "build"])
def test_every_pin_has_hashes_and_no_place(path: Path) -> None:
    text = path.read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.split("\n", 2)[2])

    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host| @ ", text) is None


def test_what_both_locks_name_is_the_same_version() -> None:
    image, build = pinned(LOCK), pinned(BUILD)

    assert {name: build[name] for name in image.keys() & build.keys()} == {
        name: image[name] for name in image.keys() & build.keys()
    }


def test_the_image_is_installed_from_the_locks_alone() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")

    installs = re.findall(r"pip install ([^&\n]+)", dockerfile)

    assert len(installs) >= 3
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install, install
