"""The configuration: composed, bounded, and clear about what is wrong with it."""

from pathlib import Path

import pytest

from foretoken.errors import ConfigurationInvalid
from foretoken.settings import Settings, changed_paths, load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "foretoken.toml"
    path.write_text(text)
    return path


def test_a_file_reaches_every_section(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        data_dir = "/var/lib/foretoken"
        [proxy]
        port = 9000
        [scheduler]
        max_attempts = 2
        [scheduler.policy]
        kind = "weighted_blend"
        prefix_weight = 1.0
        [scheduler.tiers.gold]
        ttft_s = 0.5
        priority = 5
        [scheduler.tiers.standard]
        [scheduler.models.m.policy]
        kind = "round_robin"
        [[endpoints]]
        url = "http://10.0.0.1:8000/"
        hardware = "h100_sxm/llama-3.1-8b"
        """,
    )

    settings = load_settings(path)

    assert settings.proxy.port == 9000
    assert settings.scheduler.policy.kind == "weighted_blend"
    assert settings.scheduler.tiers["gold"].objective.ttft_s == 0.5
    assert settings.endpoints[0].name == "10.0.0.1:8000"
    assert settings.trace_dir == Path("/var/lib/foretoken/traces")
    assert settings.store_dir == Path("/var/lib/foretoken/models")


def test_flags_lie_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "[proxy]\nport = 9000\nhost = '::1'\n")

    settings = load_settings(path, proxy__port=9001, proxy__host=None)

    assert (settings.proxy.port, settings.proxy.host) == (9001, "::1")


def test_a_flag_for_a_section_that_is_no_table_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "proxy = 5\n")

    with pytest.raises(ConfigurationInvalid, match="proxy = 5"):
        load_settings(path, proxy__port=9001)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[proxy]\nport = 70000", ("proxy.port = 70000", "must be less than or equal to 65535")),
        ("[scheduler]\nmax_attempts = 0", ("scheduler.max_attempts = 0", "greater than or equal")),
        ("[scheduler]\nmax_atempts = 1", ("scheduler.max_atempts", "unknown setting")),
        ("[scheduler.policy]\nkind = 'best'", ("scheduler.policy", "round_robin")),
        ("[scheduler]\ndefault_tier = 'gold'", ("default_tier 'gold'", "interactive")),
        ("[[endpoints]]\nurl = 'ftp://a'", ("endpoints.0.url = 'ftp://a'", "http://")),
        ("[[endpoints]]\nurl='http://a:1'\n[[endpoints]]\nurl='http://a:1/'", ("twice: a:1",)),
        ("[scrape]\ninterval_s = 5", ("stale_after_s = 2", "scrape.interval_s = 5")),
        (
            "[scheduler]\npolicy = 'session_affinity'\nsession = 'off'",
            ("scheduler.policy: session_affinity needs sessions", "nothing produces"),
        ),
        ("[scheduler.canary]\npolicy='lmetric'\nshare=2", ("scheduler.canary.share = 2",)),
        ("[scheduler.ladder]\ngood_error_factor = 3", ("must be less than max_error_factor = 3",)),
        ("port = ", ("Invalid value",)),
    ],
)
def test_an_invalid_value_is_named_with_its_bounds(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    path = write(tmp_path, text)

    with pytest.raises(ConfigurationInvalid) as raised:
        load_settings(path)

    assert str(path) in str(raised.value)
    for part in expected:
        assert part in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"absent\.toml"):
        load_settings(tmp_path / "absent.toml")


def test_changes_are_listed_by_path() -> None:
    before = load_settings(None, proxy__port=1, endpoints=[{"url": "http://a:1"}])
    after = load_settings(None, proxy__port=2, scheduler__mode="shadow")

    assert changed_paths(before, after) == ["endpoints", "proxy.port", "scheduler.mode"]
    assert changed_paths(Settings(), Settings()) == []


def test_several_workers_cannot_bind_one_address(tmp_path: Path) -> None:
    text = """
        workers = 2
        [[endpoints]]
        url = "http://127.0.0.1:1"
        kv_events = {address = "tcp://127.0.0.1:5557", bind = true}
        """

    with pytest.raises(ConfigurationInvalid, match="only one worker can bind"):
        load_settings(write(tmp_path, text))

    assert load_settings(write(tmp_path, text), workers=1).workers == 1


@pytest.mark.parametrize("place", ["/var/models", "s3://bucket/models"])
def test_settings_come_back_from_json_as_workers_get_them(place: str) -> None:
    settings = Settings.model_validate({"store": {"directory": place}})

    assert Settings.model_validate_json(settings.model_dump_json()) == settings
