"""Worlds whose truth is known, and the judging of what a replay said of them."""

from benchmarks.replay.__main__ import SCENES, musts
from benchmarks.replay.worlds import Shown, Told, fewer, other_machines
from simulator.fleets import load_fleet


def shown(*told: Told, error: float = 0.02) -> Shown:
    return Shown(
        scene=SCENES[0],
        verdict="good",
        requests=1000,
        errors={"ttft_mean_s": error, "ttft_p99_s": 0.9},
        told=told,
    )


def said(true: float, ratio: float, *, within_error: bool = False) -> Told:
    return Told(policy="p", figure="e2e_mean_s", true=true, said=ratio, within_error=within_error)


def test_machines_of_a_kind_are_alike_and_in_no_table() -> None:
    fleet = load_fleet("mixed-8b")

    drawn = other_machines(fleet, seed=1)

    profiles = [spec.profile for spec in drawn.endpoints]
    assert profiles[0] == profiles[1]
    assert all(
        mine.step_s([], 8, 8000) != spec.profile.step_s([], 8, 8000)
        for mine, spec in zip(profiles, fleet.endpoints, strict=True)
    )
    assert other_machines(fleet, seed=1) == drawn


def test_endpoints_are_taken_from_the_end_of_the_first_kind() -> None:
    names = [spec.name for spec in fewer(load_fleet("mixed-8b"), 2).endpoints]

    assert names[0] == "l40s-0"
    assert len(names) == 6


def test_a_difference_called_none_is_not_held_against_its_direction() -> None:
    held = musts([shown(said(0.8, 0.82), said(1.5, 1.4), said(1.2, 0.99, within_error=True))])

    assert all(holds for _, holds in held.values())


def test_wrong_directions_and_large_errors_fall_short() -> None:
    wrong = musts([shown(said(0.8, 1.2))])
    off = musts([shown(said(0.8, 0.8), error=0.2)])

    assert [holds for _, holds in wrong.values()] == [True, False, False]
    assert [holds for _, holds in off.values()] == [False, True, True]
