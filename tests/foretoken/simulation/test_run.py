"""The virtual-time driver: nothing is lost, a seed fixes everything, faults do harm."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from foretoken.simulation.arms import ARMS
from foretoken.simulation.figures import steady_figures
from foretoken.simulation.outcome import UNFINISHED, Run
from foretoken.simulation.run import simulate
from simulator.errors import WorkloadTooLong
from simulator.fleets import (
    Crash,
    Fault,
    FleetSpec,
    Flush,
    Hang,
    Replace,
    SharedTier,
    SlowDown,
    load_fleet,
)
from simulator.settings import EngineSettings
from simulator.workloads import Workload, WorkloadSpec, load_workload

GOLDEN = Path(__file__).parent / "golden_run.json"


def _fleet(*faults: Fault, endpoints: int = 3, **changes: object) -> FleetSpec:
    """Build a small fleet whose first endpoint has the faults."""
    fleet = load_fleet("eight-8b-h100")
    kept = fleet.endpoints[:endpoints]
    kept = (replace(kept[0], faults=faults), *kept[1:])
    return replace(fleet, endpoints=kept, **changes)  # type: ignore[arg-type]  # test shorthand


def _play(
    policy: str = "lmetric", *, fleet: FleetSpec | None = None, seed: int = 1, rate: float = 6.0
) -> Run:
    return simulate(
        fleet=fleet or _fleet(),
        workload=load_workload("post-c"),
        rate=rate,
        arm=ARMS[policy],
        seed=seed,
        warmup_s=5.0,
        measure_s=30.0,
    )


def _outcomes(run: Run) -> Counter[str]:
    measured = run.warmup_s + run.measure_s
    return Counter(seen.outcome for seen in run.outcomes if seen.arrived_s < measured)


def test_every_request_ends_and_is_told_once() -> None:
    run = _play()

    ids = [seen.request_id for seen in run.outcomes]
    measured = [seen for seen in run.outcomes if seen.arrived_s < 35.0]
    assert len(set(ids)) == len(ids)
    assert len(measured) == pytest.approx(6.0 * 35.0, rel=0.25)
    assert _outcomes(run).keys() == {"completed"}
    assert not run.truncated
    assert [seen.arrived_s for seen in measured] == sorted(seen.arrived_s for seen in measured)


def test_what_a_client_sees_adds_up() -> None:
    run = _play()

    for seen in run.outcomes:
        if seen.outcome != "completed":
            continue
        assert seen.ttft_s is not None
        assert seen.tpot_s is not None
        assert seen.e2e_s is not None
        streamed_s = seen.tpot_s * (seen.output_tokens - 1)
        assert seen.e2e_s == pytest.approx(seen.ttft_s + streamed_s)


@pytest.mark.parametrize("policy", ["lmetric", "power_of_two", "predicted_latency"])
def test_a_seed_fixes_everything(policy: str) -> None:
    first, again, other = _play(policy), _play(policy), _play(policy, seed=2)

    assert first == again
    assert first.outcomes != other.outcomes


def test_the_golden_run_has_not_changed() -> None:
    """Regenerate with ``python tests/foretoken/simulation/test_run.py``; review the diff."""
    assert _golden() == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_an_oracle_and_the_predictor_play_the_same_traffic_as_a_heuristic() -> None:
    runs = [_play(policy) for policy in ("lmetric", "oracle_e2e", "predicted_latency")]

    asked = [[(seen.arrived_s, seen.prompt_tokens) for seen in run.outcomes] for run in runs]
    shortest = min(map(len, asked))
    assert asked[0][:shortest] == asked[1][:shortest] == asked[2][:shortest]


def test_a_crash_loses_only_what_had_begun_and_the_rest_goes_elsewhere() -> None:
    run = _play(fleet=_fleet(Crash(at_s=15.0, back_s=25.0)))

    outcomes = _outcomes(run)
    cut = [seen for seen in run.outcomes if seen.outcome == "cut"]
    gone = run.endpoints[0]
    meanwhile = [seen for seen in run.outcomes if 15.3 < seen.arrived_s < 25.0]
    after = [seen for seen in run.outcomes if 25.3 < seen.arrived_s < 35.0]
    assert set(outcomes) == {"completed", "cut"}
    assert cut
    assert all(seen.endpoint == gone and seen.arrived_s < 15.0 for seen in cut)
    assert all(seen.endpoint != gone for seen in meanwhile)
    assert any(seen.endpoint == gone for seen in after)


def test_a_request_sent_to_a_dead_endpoint_has_lost_the_way_there_and_back() -> None:
    way_s = 0.05

    run = _play(fleet=_fleet(Crash(at_s=15.0, back_s=25.0), network_delay_s=way_s), rate=30.0)

    elsewhere = [
        seen.ttft_s - seen.upstream_ttft_s
        for seen in run.outcomes
        if seen.ttft_s is not None and seen.upstream_ttft_s is not None
    ]
    rerouted = [waited_s for waited_s in elsewhere if waited_s > 1e-9]
    assert rerouted
    assert min(rerouted) > 2 * way_s - 1e-9


def test_a_hung_endpoint_keeps_its_requests_waiting_and_then_serves_them() -> None:
    run = _play(fleet=_fleet(Hang(at_s=15.0, until_s=20.0), endpoints=1), rate=1.0)

    waited = [seen for seen in run.outcomes if 15.0 < seen.arrived_s < 17.0]
    assert waited
    assert all(seen.ttft_s is not None and seen.ttft_s > 3.0 for seen in waited)
    assert _outcomes(run).keys() == {"completed"}


def test_a_slower_endpoint_is_slower_from_then_on() -> None:
    usual = _play(fleet=_fleet(endpoints=1), rate=1.0)
    slow = _play(fleet=_fleet(SlowDown(at_s=0.0, factor=3.0), endpoints=1), rate=1.0)

    usual_s, slow_s = (steady_figures(run)["tpot_p50_s"] for run in (usual, slow))
    assert usual_s is not None
    assert slow_s is not None
    assert slow_s > 2.5 * usual_s


def test_a_flushed_cache_costs_hits() -> None:
    flushes = [Flush(at_s=float(second)) for second in range(6, 35, 2)]

    usual, flushed = _play("session_affinity"), _play("session_affinity", fleet=_fleet(*flushes))

    usual_hits, flushed_hits = (
        sum(seen.cached_tokens for seen in run.outcomes if seen.endpoint == run.endpoints[0])
        for run in (usual, flushed)
    )
    assert flushed_hits < usual_hits


def test_a_machine_that_takes_anothers_place_has_its_own_pace_and_an_empty_cache() -> None:
    usual = _play(fleet=_fleet(endpoints=1), rate=1.0)
    other = _play(
        fleet=_fleet(Replace(at_s=0.1, profile="l40s/llama-3.1-8b"), endpoints=1), rate=1.0
    )
    late = _play(fleet=_fleet(Replace(at_s=30.0, profile="l40s/llama-3.1-8b"), endpoints=1))

    usual_s, other_s = (steady_figures(run)["tpot_p50_s"] for run in (usual, other))
    assert usual_s is not None
    assert other_s is not None
    assert other_s > 2 * usual_s
    assert _outcomes(late)["cut"] > 0
    sent = [seen.endpoint for seen in late.outcomes if seen.arrived_s > 30.0 and seen.endpoint]
    assert set(sent) == set(usual.endpoints)  # it is known by the same name


def test_shared_storage_is_there_for_every_endpoint() -> None:
    tier = SharedTier(tokens=10_000_000, load_s_per_token=1e-5)

    alone, shared = _play("random"), _play("random", fleet=_fleet(shared_tier=tier))

    alone_hits, shared_hits = (steady_figures(run)["hit_ratio"] for run in (alone, shared))
    assert alone_hits is not None
    assert shared_hits is not None
    assert shared_hits > alone_hits + 0.05


def test_a_fleet_far_beyond_its_limit_is_cut_and_says_so() -> None:
    small = EngineSettings(max_num_seqs=4)
    fleet = _fleet(endpoints=1)
    fleet = replace(fleet, endpoints=(replace(fleet.endpoints[0], engine=small),))

    run = _play(fleet=fleet, rate=10.0)

    unfinished = [seen for seen in run.outcomes if seen.outcome == UNFINISHED]
    assert run.truncated
    assert _outcomes(run)[UNFINISHED] > 0
    assert {seen.endpoint for seen in unfinished} == set(run.endpoints)


def test_a_recorded_tier_that_the_router_lacks_is_served_as_the_default_one(
    tmp_path: Path,
) -> None:
    row = '{"at_s": %d, "prompt_tokens": 100, "output_tokens": 5, "tier": "gold"}\n'
    (tmp_path / "t.jsonl").write_text("".join(row % second for second in range(20)))
    (tmp_path / "gold.toml").write_text(
        'description = "d"\nsource = "s"\nwarmup_s = 0\nmeasure_s = 10\n'
        'traffic = { kind = "replay", trace = "t.jsonl", format = "jsonl" }\n'
    )

    run = simulate(
        fleet=_fleet(),
        workload=load_workload(tmp_path / "gold.toml"),
        rate=1.0,
        arm=ARMS["lmetric"],
        seed=1,
    )

    assert _outcomes(run).keys() == {"completed"}
    assert {seen.tier for seen in run.outcomes} == {"gold"}


def test_waiting_requests_are_looked_at_between_scrapes() -> None:
    down = Crash(at_s=10.0, back_s=12.0)

    run = _play(fleet=_fleet(down, endpoints=1, scrape_interval_s=1000.0))

    after = [seen for seen in run.outcomes if 13.0 < seen.arrived_s < 35.0]
    assert not run.truncated
    assert after
    assert {seen.outcome for seen in after} == {"completed"}


def test_users_who_are_refused_leave_off_for_a_while(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"prompt_tokens": 9, "output_tokens": 2}\n' * 10)
    spec = WorkloadSpec.model_validate(
        {
            "description": "d",
            "source": "s",
            "warmup_s": 0,
            "measure_s": 3,
            "traffic": {"kind": "replay", "trace": "t.jsonl", "format": "jsonl", "ramp_s": 0},
        }
    )

    run = simulate(
        fleet=_fleet(Crash(at_s=0.0), endpoints=1, network_delay_s=0.0),
        workload=Workload("hasty", "hasty.toml", spec, tmp_path),
        rate=1200,  # more than may wait: the rest is refused at once, and nobody thinks
        arm=ARMS["lmetric"],
        seed=1,
    )

    at_once = Counter(seen.arrived_s for seen in run.outcomes if seen.reason == "queue_full")
    assert max(at_once.values()) == 200
    assert len(at_once) >= 3


def test_a_workload_that_cannot_fit_is_refused_before_it_starts() -> None:
    fleet = _fleet()
    tiny = replace(fleet.endpoints[0], engine=EngineSettings(kv_tokens=4096))

    with pytest.raises(WorkloadTooLong, match="limit of 4096"):
        _play(fleet=replace(fleet, endpoints=(tiny,)))


def _golden() -> dict[str, object]:
    run = _play("weighted_blend")
    figures = {
        name: None if value is None else float(f"{value:.6g}")
        for name, value in steady_figures(run).items()
    }
    return {"requests": len(run.outcomes), "engine_steps": run.engine_steps, "figures": figures}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(_golden(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
