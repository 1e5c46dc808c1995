"""The service without a server: what a reload changes and what background tasks count."""

import asyncio
import logging
from pathlib import Path

import pytest

from foretoken.build import Built, build
from foretoken.control import ServicePlane
from foretoken.settings import ConfigFile
from predictor.types import EndpointState, RequestFeatures
from proxy.control import ReloadRefused, TrialRefused, TrialsBody

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


UP = EndpointState(endpoint="b:1", url="http://b:1", model="m", up=True, scraped_s=0.0)


def test_trials_last_until_the_file_changes(tmp_path: Path) -> None:
    built = make(tmp_path)
    plane = ServicePlane(built.service)
    built.service.on_states((UP,))
    trials = {"model": "m", "shadow": "random", "canary": {"policy": "round_robin", "share": 0.5}}

    plane.set_trials(TrialsBody.model_validate(trials))
    (during,) = plane.deciding()
    changed = reload(built)
    (after,) = plane.deciding()

    assert (during.shadow, during.canary, during.canary_share_ratio) == (
        "random",
        "round_robin",
        0.5,
    )
    assert changed == ["scheduler.models"]
    assert (after.shadow, after.canary) == (None, None)


def test_a_policy_that_lacks_what_it_reads_is_not_tried(tmp_path: Path) -> None:
    built = make(tmp_path, FILE + "[scheduler]\nsession = 'off'\n")
    plane = ServicePlane(built.service)
    reload(built)
    built.service.on_states((UP,))

    with pytest.raises(TrialRefused, match="session_affinity needs sessions"):
        plane.set_trials(TrialsBody.model_validate({"shadow": "session_affinity"}))

    assert plane.deciding()[0].shadow is None


def test_each_change_of_level_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="foretoken.service")
    built = make(tmp_path)
    reload(built)
    built.service.on_states((UP,))
    request = RequestFeatures(request_id="r", arrived_s=0.0, model="m", prompt_bytes=100)

    built.service.scheduler.route(request, 0.0)
    built.service.on_states((UP,))
    built.service.on_states((UP,))

    (line,) = [each for each in caplog.records if each.getMessage() == "level_changed"]
    fields = vars(line)
    assert (fields["model"], fields["ladder_level"]) == ("m", "heuristic")
    assert fields["reason"] == "cold"
    assert fields["before"] is None


def test_the_kv_events_of_a_removed_endpoint_are_followed_no_longer(tmp_path: Path) -> None:
    source = f'kv_events = {{address = "ipc://{tmp_path}/live"}}\n'
    built = make(tmp_path, FILE + source)
    service = built.service
    exact = service.scheduler.caches.exact

    async def scenario() -> list[bool | None]:
        async with service.running():
            while exact("127.0.0.1:9") is None:  # until the feed has begun
                await asyncio.sleep(0)
            followed = exact("127.0.0.1:9")
            await ServicePlane(service).remove_endpoint("127.0.0.1:9")
            await asyncio.sleep(0)
            assert not service._feeds._tasks
            return [followed, exact("127.0.0.1:9")]

    assert asyncio.run(scenario()) == [False, None]
