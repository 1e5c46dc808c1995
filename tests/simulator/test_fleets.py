from importlib.resources import files
from pathlib import Path

import pytest

from simulator.errors import FleetInvalid, UnknownFleet
from simulator.fleets import Crash, FleetSpec, Flush, Hang, SlowDown, fleet_names, load_fleet
from simulator.workloads import load_workload, workload_names

FLEET = """
model = "llama-3.1-8b"
description = "d"
shared_tier = { tokens = 1000000, load_s_per_token = 2e-5 }

[[endpoints]]
name = "fast"
count = 2
profile = "h100_sxm/llama-3.1-8b"
engine = { max_num_seqs = 64, kv_tokens = 100005, speed = 0.5 }

[[endpoints]]
name = "slow"
profile = "l40s/llama-3.1-8b"
priority_class = 1
faults = [
    { kind = "crash", at_s = 50, back_s = 60 },
    { kind = "slow_down", at_s = 10, factor = 2.5, until_s = 20 },
    { kind = "hang", at_s = 30, until_s = 40 },
    { kind = "flush", at_s = 45 },
]
"""


def _fleet(tmp_path: Path, text: str = FLEET) -> FleetSpec:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_fleet(path)


def test_a_file_gives_every_endpoint_with_its_settings(tmp_path: Path) -> None:
    fleet = _fleet(tmp_path)

    fast, also_fast, slow = fleet.endpoints
    assert (fleet.name, fleet.model) == ("mine", "llama-3.1-8b")
    assert [fast.name, also_fast.name, slow.name] == ["fast-0", "fast-1", "slow"]
    assert (fast.profile.name, slow.profile.gpu) == ("h100_sxm/llama-3.1-8b", "l40s")
    assert (fast.engine.max_num_seqs, fast.engine.speed, slow.engine.speed) == (64, 0.5, 1.0)
    assert (fast.priority_class, slow.priority_class) == (0, 1)
    assert fleet.shared_tier is not None
    assert fleet.shared_tier.load_s_per_token == 2e-5


def test_faults_come_in_order_of_time(tmp_path: Path) -> None:
    assert _fleet(tmp_path).endpoints[2].faults == (
        SlowDown(at_s=10, factor=2.5, until_s=20),
        Hang(at_s=30, until_s=40),
        Flush(at_s=45),
        Crash(at_s=50, back_s=60),
    )


def test_the_longest_request_is_what_the_smallest_endpoint_holds_in_whole_blocks(
    tmp_path: Path,
) -> None:
    fleet = _fleet(tmp_path)

    assert [endpoint.limit_tokens for endpoint in fleet.endpoints] == [100_000, 100_000, 131_072]
    assert fleet.limit_tokens == 100_000


@pytest.mark.parametrize("name", fleet_names())
def test_fleets_that_ship_load_and_hold_what_workloads_generate(name: str) -> None:
    fleet = load_fleet(name)

    assert fleet.name == name
    assert len(fleet.endpoints) >= 8
    for workload in workload_names():
        if load_workload(workload).spec.traffic.kind != "replay":
            load_workload(workload).check_fits(fleet.limit_tokens)


def test_files_that_ship_are_found_as_package_data() -> None:
    for package, names in [
        ("simulator.fleets", fleet_names()),
        ("simulator.workloads", workload_names()),
    ]:
        assert names
        assert all(files(package).joinpath(f"{name}.toml").is_file() for name in names)
    assert files("simulator.workloads").joinpath("capacity.json").is_file()


def test_an_unknown_name_lists_those_there_are() -> None:
    with pytest.raises(UnknownFleet, match=r"'twelve'; known are: .*ten-qwen3-32b-h100"):
        load_fleet("twelve")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("l40s/llama", "l4/llama", "endpoints.slow.profile: unknown profile 'l4/llama"),
        ('name = "slow"', 'name = "fast-1"', "endpoints.name: fast-1 is there more than once"),
        ("priority_class", "class", "endpoints.1.class: Extra inputs"),
        ("max_num_seqs = 64", "max_num_seqs = 0", "endpoints.0.engine.max_num_seqs: .*equal to 1"),
        ("max_num_seqs = 64", "seats = 64", "endpoints.0.engine.seats: Extra inputs"),
        (
            "max_num_seqs = 64",
            "block_size = 32",
            "engine.block_size: one fleet has one, not 16, 32",
        ),
        ("l40s/llama-3.1-8b", "h100_sxm/qwen3-32b", "slow.profile: .*qwen3-32b, not of llama"),
        ("count = 2", "count = 0", "endpoints.0.count: .*equal to 1"),
        ("back_s = 60", "back_s = 40", "ends at 40 s, before it begins at 50 s"),
        ("until_s = 20", "until_s = 35", "slow.faults: hang begins before slow_down is over"),
        (", until_s = 20", "", "slow.faults: hang begins before slow_down is over"),
        ('kind = "flush"', 'kind = "rust"', "faults.3: .*'slow_down', 'hang', 'crash', 'flush'"),
        ("factor = 2.5", "factor = nan", "factor: .*finite"),
        ("tokens = 1000000", "tokens = 0", "shared_tier.tokens: .*equal to 1"),
        ('description = "d"', "description = d", "line 3"),
    ],
)
def test_a_bad_file_is_refused_by_file_and_key(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    assert old in FLEET

    with pytest.raises(FleetInvalid, match=problem) as refused:
        _fleet(tmp_path, FLEET.replace(old, new, 1))

    assert refused.value.path == str(tmp_path / "mine.toml")


def test_an_endpoint_that_is_refused_is_the_only_problem_told(tmp_path: Path) -> None:
    with pytest.raises(FleetInvalid) as refused:
        _fleet(tmp_path, FLEET.replace("max_num_seqs = 64", "max_num_seqs = 0"))

    assert refused.value.problem.startswith("endpoints.0.engine.max_num_seqs: ")
    assert ";" not in refused.value.problem


def test_a_missing_file_or_one_without_endpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FleetInvalid, match=r"absent\.toml"):
        load_fleet(tmp_path / "absent.toml")
    with pytest.raises(FleetInvalid, match="endpoints: Field required"):
        _fleet(tmp_path, FLEET.split("[[", maxsplit=1)[0])


@pytest.mark.parametrize(
    ("profile", "problem"),
    [("h100_sxm/none", "unknown profile"), ("h100_sxm/llama-3.1-70b", "llama-3.1-70b")],
)
def test_a_machine_that_cannot_serve_the_model_takes_no_place(
    tmp_path: Path, profile: str, problem: str
) -> None:
    fault = f'{{ kind = "replace", at_s = 45, profile = "{profile}" }}'
    text = FLEET.replace('{ kind = "flush", at_s = 45 }', fault)

    with pytest.raises(FleetInvalid, match=problem):
        _fleet(tmp_path, text)
