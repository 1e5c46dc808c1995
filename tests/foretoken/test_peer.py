"""What a process among others does alone, and what it is told."""

import asyncio
import subprocess
import sys
from pathlib import Path

from collectors import EndpointSettings
from foretoken.build import build
from foretoken.peer import lone_peer
from foretoken.serve import named
from foretoken.settings import ConfigFile, Settings, changed_paths, load_settings
from predictor.values import replace
from scheduler import Dispatch
from tests.scheduler.known_physics import endpoint, request


def test_a_name_we_made_up_does_not_look_like_a_change_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "foretoken.toml"
    path.write_text(
        '[[endpoints]]\nurl = "http://127.0.0.1:9"\n[routers]\nurl = "redis://127.0.0.1:9"\n'
    )
    settings, config = named(load_settings(path), ConfigFile(path=path, overrides={}))

    assert settings.routers.name
    assert config is not None
    assert changed_paths(settings, config.load()) == []


def test_a_word_of_another_router_brings_back_nobody_who_leaves() -> None:
    settings = Settings.model_validate(
        {"trainer": {"enabled": False}, "endpoints": [{"url": "http://b:1"}]}
        | {"routers": {"url": "redis://127.0.0.1:9"}}
        | {"discovery": [{"kind": "file", "files": ["/nowhere.json"]}]}
    )
    peer = lone_peer(settings)
    assert peer is not None
    service = build(settings, member=peer).service
    service.membership.found("file", [EndpointSettings(url="http://a:1")])
    service.scraper.adopt([endpoint(name, scraped_s=peer.clock()) for name in ("a:1", "b:1")])
    wanted = replace(request("r", arrived_s=peer.clock()), allowed_endpoints=frozenset({"a:1"}))
    assert isinstance(service.scheduler.route(wanted, peer.clock()), Dispatch)

    service.membership.found("file", [])
    peer.decreed("a:1", draining=False)
    while_leaving = service.scheduler.states["a:1"].draining
    peer.decreed("a:1", draining=True)
    service.membership.found("file", [EndpointSettings(url="http://a:1")])

    assert while_leaving
    assert service.scheduler.states["a:1"].draining  # wanted so, back or not


def test_who_is_alone_loads_nothing_of_what_several_need() -> None:
    code = (
        "import sys, foretoken.serve\n"
        "several = ('foretoken.peer', 'foretoken.workers', 'foretoken.routers.outside', 'redis')\n"
        "sys.exit(', '.join(name for name in several if name in sys.modules) or None)"
    )

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )

    assert (found.returncode, found.stderr) == (0, "")


def test_bookings_are_told_at_the_end_of_the_turn_and_at_once_without_an_event_loop() -> None:
    settings = Settings.model_validate({"routers": {"url": "redis://127.0.0.1:9"}})
    peer = lone_peer(settings)
    assert peer is not None
    said: list[str] = []

    peer._later(lambda: said.append("at once"))

    async def turn() -> None:
        peer._later(lambda: said.append("later"))
        said.append("now")
        await asyncio.sleep(0)

    asyncio.run(turn())
    assert said == ["at once", "now", "later"]
