"""docs/kubernetes.md: its role allows what is asked and no more, its settings are settings."""

import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from pydantic import TypeAdapter

from collectors.discovery import DiscoverySource
from tests.collectors.discovery.kubernetes_harness import (
    SERVICE,
    Bench,
    benched,
    ends,
    pod,
    pool,
    slice_of,
)
from tests.fakes import Seen

PAGE = (Path(__file__).parents[3] / "docs" / "kubernetes.md").read_text()
Right = tuple[str, str, str, str | None]
"""Group, collection, verb and name, ``None`` for all of it."""


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def _rights() -> set[Right]:
    (text,) = _blocks("yaml")
    (role,) = [one for one in yaml.safe_load_all(text) if one["kind"] == "Role"]
    rules: list[dict[str, Any]] = role["rules"]
    return {
        (group, resource, verb, name)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [None])
    }


def _used(seen: Seen) -> Right:
    url = urlsplit(seen.target)
    query = parse_qs(url.query)
    parts = url.path.strip("/").split("/")
    group = "" if parts[0] == "api" else parts[1]
    assert (seen.method, parts[-3]) == ("GET", "namespaces")  # a whole collection
    fields = query.get("fieldSelector", [""])[0].removeprefix("metadata.name=") or None
    return group, parts[-1], "watch" if "watch" in query else "list", fields


def test_the_role_allows_what_is_asked_and_no_more(tmp_path: Path) -> None:
    async def use(bench: Bench) -> None:
        bench.api.put(SERVICE)
        bench.api.put(pool(name="vllm"))
        bench.api.put(pod(1))
        bench.api.put(slice_of(*ends(1)))
        for settings in ({"service": "vllm"}, {"pool": "vllm"}):
            bench.told.sets.clear()
            bench.start(**settings)
            await bench.told.comes("10.0.0.1:8000")
            await bench.api.watched("pods")
            if "service" in settings:
                await bench.api.watched("services", "endpointslices")
                await bench.stop()
        await bench.api.watched("inferencepools")

    bench = benched(tmp_path, use)

    assert {_used(one) for one in bench.api.seen} == _rights()


def test_the_examples_of_settings_are_settings() -> None:
    tables = [table for text in _blocks("toml") for table in tomllib.loads(text)["discovery"]]

    read = [TypeAdapter(DiscoverySource).validate_python(table) for table in tables]

    assert [one.name for one in read] == ["kubernetes", "kubernetes"]
