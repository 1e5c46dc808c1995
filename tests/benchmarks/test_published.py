"""Reading published runs: stages as a report tells them, and directions."""

from dataclasses import replace

import pytest

from benchmarks.published.claims import CLAIMS, PREDICTOR, Claim
from benchmarks.published.ladder import PAUSE_S, Ladder, stages_of
from benchmarks.published.riddle import CHANGES, PUBLISHED, STAGE, guide_scene
from benchmarks.published.scene import Scene, play
from foretoken.simulation.arms import ARMS
from foretoken.simulation.figures import FIGURES
from foretoken.simulation.outcome import Outcome, Run
from tests.foretoken import played

LADDER = Ladder(stages=((2.0, 10.0), (4.0, 5.0)), passes=2)


def answered(arrived_s: float, e2e_s: float, ttft_s: float = 0.5) -> Outcome:
    tokens = {"prompt_tokens": 1000, "cached_tokens": 250, "output_tokens": 100}
    return played.answered(arrived_s, ttft_s=ttft_s, tpot_s=0.02, e2e_s=e2e_s, **tokens)


def run_of(*outcomes: Outcome) -> Run:
    seconds = LADDER.seconds
    return played.played(*outcomes, rate=LADDER.mean_rate, measure_s=seconds, ended_s=seconds)


def test_only_the_last_pass_is_read() -> None:
    second = LADDER.pass_s
    later = second + 10.0 + PAUSE_S

    stages = stages_of(
        run_of(
            answered(1.0, 5.0, ttft_s=9.0),
            answered(second + 1.0, 5.0),
            answered(later + 1.0, 5.0),
            answered(later + 2.0, 5.0),
        ),
        LADDER,
    )

    assert [stage.rate for stage in stages] == [2.0, 4.0]
    assert [stage.requests for stage in stages] == [1, 2]
    assert stages[0].ttft_p90_s == 0.5


def test_throughput_counts_until_the_last_answer() -> None:
    begin = LADDER.pass_s
    other = begin + 10.0 + PAUSE_S

    stages = stages_of(
        run_of(answered(begin + 1.0, 20.0), answered(begin + 5.0, 36.0), answered(other, 1.0)),
        LADDER,
    )

    assert stages[0].requests_per_s == 2 / 40.0
    assert stages[0].input_tokens_per_s == 2000 / 40.0
    assert stages[0].output_tokens_per_s == 200 / 40.0
    assert stages[0].hit_ratio == 0.25


def test_a_stage_that_has_not_drained_is_refused() -> None:
    begin = LADDER.pass_s
    other = begin + 10.0 + PAUSE_S

    with pytest.raises(ValueError, match="the stage of 2 requests/s did not drain"):
        stages_of(run_of(answered(begin + 9.0, PAUSE_S + 2.0), answered(other, 1.0)), LADDER)


def test_pauses_are_part_of_the_mean_rate() -> None:
    assert LADDER.mean_rate == (20.0 + 20.0) / (15.0 + 2 * PAUSE_S)
    assert sum(stage["seconds"] for stage in LADDER.as_toml()) == LADDER.pass_s


@pytest.mark.parametrize(
    ("published", "ours", "direction", "holds"),
    [
        (10.0, 1.0, "tie", True),
        (10.0, 1.3, "tie", False),
        (20.0, 1.01, "worse", True),
        (20.0, 0.9, "worse", False),
        (5.0, 0.99, "better", True),
        (5.0, 1.0, "better", False),
    ],
)
def test_a_direction_holds_on_the_published_side(
    published: float, ours: float, direction: str, holds: bool
) -> None:
    claim = Claim(
        name="c",
        scene=Scene(policy=PREDICTOR, workload="b2b-saas"),
        figure="ttft_p90_s",
        published={PREDICTOR: published, "lmetric": 10.0},
    )

    assert claim.direction("lmetric") == direction
    assert claim.holds({PREDICTOR: ours, "lmetric": 1.0}, "lmetric") is holds


def test_less_throughput_is_worse() -> None:
    claim = next(claim for claim in CLAIMS if claim.higher_is_better)

    assert claim.direction("prefix_affinity") == "worse"
    assert claim.holds({PREDICTOR: 50.0, "prefix_affinity": 100.0}, "prefix_affinity")


def test_every_claim_names_arms_and_a_figure_there_are() -> None:
    for claim in CLAIMS:
        assert PREDICTOR in claim.published
        assert set(claim.published) <= set(ARMS)
        figure, _, rate = claim.figure.partition("@")
        if claim.scene.ladder is None:
            assert figure in FIGURES
        else:
            assert float(rate) in {rate for rate, _ in claim.scene.ladder.stages}


def test_every_change_of_the_riddle_differs_from_the_study() -> None:
    study = CHANGES[0].of(STAGE)

    assert len({repr(change.of(STAGE)) for change in CHANGES}) == len(CHANGES)
    assert all(change.of(STAGE) != study for change in CHANGES[1:])


def test_every_reported_stage_is_played() -> None:
    for policy, rows in PUBLISHED.items():
        ladder = guide_scene(policy, quick=False).ladder
        assert ladder is not None
        assert set(rows) <= {rate for rate, _ in ladder.stages}


def test_a_short_index_takes_prompts_that_begin_alike_for_one() -> None:
    # Prompts share 4,500 tokens of 6,000: too little to stick, but all a short index sees.
    scene = Scene(
        policy=PREDICTOR,
        workload="b2b-saas",
        rate=4.0,
        warmup_s=10.0,
        measure_s=20.0,
        traffic={
            "groups": 5,
            "system_tokens": 4500,
            "question": {"mean": 1500},
            "multi_turn": True,
            "max_turns": 1,
            "output": {"mean": 20, "max": 20},
        },
    )

    whole = play(scene, lambda _: None)
    short = play(replace(scene, match_tokens=4096), lambda _: None)

    assert whole.figures["requests"] == short.figures["requests"]
    assert whole.figures["hit_ratio"] < 0.9 * short.figures["hit_ratio"]
