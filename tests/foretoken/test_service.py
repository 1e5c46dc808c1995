"""The service without a server: what a reload changes and what background tasks count."""

import asyncio
from pathlib import Path

import pytest

from foretoken.build import Built, build
from foretoken.settings import ConfigFile
from predictor.types import EndpointState
from proxy.control import ReloadRefused

FILE = """
[proxy]
port = 9000
[trainer]
enabled = false
[[endpoints]]
url = "http://127.0.0.1:9"
"""


def make(folder: Path, text: str = FILE, **flags: object) -> Built:
    path = folder / "foretoken.toml"
    path.write_text(text)
    config = ConfigFile(path=path, overrides=flags)
    return build(config.load(), config)


def reload(built: Built) -> list[str]:
    """Reload while the service runs, without a server."""

    async def scenario() -> list[str]:
        async with built.service.running():
            return list(built.service.reload())

    return asyncio.run(scenario())


def test_flags_still_lie_over_the_file_after_a_reload(tmp_path: Path) -> None:
    built = make(tmp_path, proxy__port=9001, endpoints=[{"url": "http://127.0.0.1:10"}])
    (tmp_path / "foretoken.toml").write_text(FILE + "[scheduler]\nmax_attempts = 2\n")

    changed = reload(built)

    assert changed == ["scheduler.max_attempts"]
    assert built.service.settings.proxy.port == 9001
    assert [endpoint.name for endpoint in built.service.settings.endpoints] == ["127.0.0.1:10"]


def test_a_change_that_needs_a_restart_is_refused_by_name(tmp_path: Path) -> None:
    built = make(tmp_path)
    (tmp_path / "foretoken.toml").write_text(FILE.replace("9000", "9002"))

    with pytest.raises(ReloadRefused, match=r"proxy\.port"):
        reload(built)

    assert built.service.settings.proxy.port == 9000


def test_a_fleet_that_shows_up_after_a_reload_has_the_policy_in_force(tmp_path: Path) -> None:
    built = make(tmp_path)
    policy = '[scheduler.policy]\nkind = "round_robin"\n'
    (tmp_path / "foretoken.toml").write_text(FILE + policy)

    reload(built)
    built.service.on_states(
        (EndpointState(endpoint="b:1", url="http://b:1", model="late", up=True),)
    )

    assert built.service.scheduler.fleets["late"].policy.name == "round_robin"
