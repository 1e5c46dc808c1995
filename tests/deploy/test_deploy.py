"""The examples people copy are valid, and the image builds from what is in the tree."""

import re
from pathlib import Path

from foretoken.settings import load_settings

ROOT = Path(__file__).parents[2]


def test_the_example_configuration_is_valid() -> None:
    settings = load_settings(ROOT / "deploy" / "foretoken.toml")

    assert len(settings.endpoints) == 2
    assert settings.scheduler.tiers["interactive"].objective.ttft_s == 0.5


def test_every_path_the_compose_file_and_the_image_name_exists() -> None:
    compose = (ROOT / "deploy" / "compose.yaml").read_text()
    dockerfile = (ROOT / "Dockerfile").read_text()

    mounted = re.findall(r"- (\.\.?/\S+?):/", compose)
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE)

    assert mounted
    assert copied
    assert [path for path in mounted if not (ROOT / "deploy" / path).exists()] == []
    for sources in copied:
        assert [path for path in sources.split() if not (ROOT / path).exists()] == []
