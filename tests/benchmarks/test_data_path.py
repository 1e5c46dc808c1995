import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.data_path import (
    capacity,
    chats,
    latency,
    memory,
    sampled,
    scrape,
    waiting,
    workers,
)
from benchmarks.data_path.__main__ import main, parts
from benchmarks.data_path.judge import Verdict, met, verdict_table
from benchmarks.data_path.part import Options, Outcome
from benchmarks.data_path.routers import (
    OURS,
    PEERS,
    Choice,
    choices,
    installed,
    litellm_config,
    peer_command,
    peers_folder,
)
from benchmarks.data_path.turns import Turn, Turns, ratio
from foretoken.errors import DemoFailed


def made(cpu_s: float, *, rate: float = 100.0, p50_s: float = 0.001) -> Turn:
    return Turn(
        requests=100, cpu_s=cpu_s, trainer_s=0.1, cores=cpu_s * rate, rate=rate, events=0.0,
        p50_s=p50_s,
    )  # fmt: skip


def test_ratio_is_taken_within_a_round() -> None:
    turns: Turns = {"a": [made(1.0), made(4.0), made(3.0)], "b": [made(2.0), made(2.0), made(2.0)]}

    found = ratio(turns, "a", "b")

    assert found is not None
    assert (found.least, found.median, found.most) == (0.5, 1.5, 2.0)
    assert ratio(turns, "a", "never") is None


def row_outcome(ours_s: float, *, decides: str = "mixture (predicted)") -> Outcome:
    turns: Turns = {OURS: [made(ours_s)] * 3, "sglang-router": [made(1e-4)] * 3}
    return chats.outcome(chats.rows()["tiny"], turns, decides, judged=True)


@pytest.mark.parametrize(("ours_s", "kept"), [(1.1e-4, True), (1.3e-4, False)])
def test_a_row_is_judged_against_its_peer(ours_s: float, kept: bool) -> None:
    outcome = row_outcome(ours_s)

    must, goal, trees = outcome.verdicts

    assert (must.kind, must.most, must.passes) == ("must", 1.2, kept)
    assert (goal.kind, goal.passes) == ("goal", False)
    assert trees.passes
    assert met(outcome.verdicts) is kept


def test_a_row_that_trees_did_not_decide_falls_short() -> None:
    outcome = row_outcome(1e-5, decides="heuristic (inaccurate)")

    assert not met(outcome.verdicts)


def test_without_the_peer_a_row_is_shown_and_not_judged() -> None:
    outcome = chats.outcome(chats.rows()["tiny"], {OURS: [made(1.0)]}, "mixture", judged=True)

    (table,) = outcome.tables.values()

    assert [each.passes for each in outcome.verdicts[:2]] == [None, None]
    assert table.row_count == 1


def test_latency_is_what_is_added_to_the_endpoints_own() -> None:
    turns: Turns = {
        latency.DIRECT: [made(1.0, p50_s=0.001)] * 2,
        OURS: [made(1.0, p50_s=0.0013), made(1.0, p50_s=0.0017)],
    }

    (verdict,) = latency.outcome(turns, judged=True).verdicts

    assert verdict.measured == pytest.approx(0.5)
    assert verdict.spread == pytest.approx((0.3, 0.7))


def test_scraping_that_does_not_keep_up_falls_short() -> None:
    well = scrape.outcome([(0.2, 490.0)], judged=True)
    late = scrape.outcome([(0.2, 300.0)], judged=True)

    assert met(well.verdicts)
    assert not met(late.verdicts)


def test_memory_is_judged_by_growth_and_size() -> None:
    grown = memory.outcome(1, 2, [(200_000_000, 220_000_000)], judged=True)
    large = memory.outcome(1, 2, [(400_000_000, 400_000_000)], judged=True)
    often = [(200_000_000, 220_000_000), (300_000_000, 330_000_000), (200_000_000, 201_000_000)]
    grown_mostly = memory.outcome(1, 2, often, judged=True)

    assert [each.passes for each in grown.verdicts] == [False, True]
    assert [each.passes for each in large.verdicts] == [True, False]
    assert [each.passes for each in grown_mostly.verdicts] == [False, True]
    assert grown_mostly.verdicts[1].spread == (201.0, 330.0)


def test_a_chunk_costs_what_a_stream_costs_beyond_a_request() -> None:
    found = capacity.costs([made(1e-4)], [made(1e-4 + 99e-5)])

    assert found.chunk_s == pytest.approx(1e-5)
    assert capacity.outcome([made(1e-4)], [made(2e-3)]).tables.keys() == {
        "data-path-carried",
        "data-path-capacity",
    }


def test_two_workers_are_judged_against_one() -> None:
    dear: Turns = {workers.ONE.name: [made(1.0)], workers.TWO.name: [made(1.2)]}
    cheap: Turns = {workers.ONE.name: [made(1.0)], workers.TWO.name: [made(1.1)]}

    def passes(*by_load: Turns) -> bool:
        turns = dict(zip((32, 128), by_load, strict=False))
        return met(workers.outcome(turns, dict.fromkeys(dear, 1), judged=True).verdicts)

    assert passes(cheap)
    assert passes(dear, cheap)
    assert not passes(dear)
    assert not passes(cheap, dear)


def test_peers_that_are_there_are_started_by_default_and_at_their_cheapest(tmp_path: Path) -> None:
    for name in ("smg", "litellm"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin" / name).touch()

    names = [choice.name for choice in choices(tmp_path, cheapest=True)]

    assert installed(tmp_path) == ["smg", "litellm"]
    assert names == [OURS, "smg", "smg round_robin", "litellm"]
    assert [choice.name for choice in choices(None, cheapest=True)] == [OURS]
    assert peers_folder(tmp_path) == tmp_path
    with pytest.raises(DemoFailed, match="--peers"):
        peers_folder(tmp_path / "never")


@pytest.mark.parametrize("name", PEERS)
def test_every_peers_command_is_filled_in(name: str) -> None:
    command = peer_command(
        Choice(program=name), ["http://a", "http://b"], port="1", metrics_port="2", config="c"
    )

    assert not any("{" in part for part in command)
    assert command[-2:] == ["http://a", "http://b"] or "c" in command
    assert litellm_config(["http://a"]).count("api_base: http://a/v1") == 1


def test_the_innermost_part_that_has_a_rule_gets_the_time() -> None:
    inner = "import sys\ndef render(look): return look(sys._getframe())"
    outer = "def finished(render, look): return render(look)"

    def load(text: str, file: str, name: str) -> Callable[..., str]:
        space: dict[str, Callable[..., str]] = {}
        exec(compile(text, sampled.ROOT + file, "exec"), space)  # noqa: S102
        return space[name]

    finished = load(outer, "scheduler/scheduler.py", "finished")
    log_line = load(inner, "foretoken/logs.py", "render")
    elsewhere = load(inner, "predictor/window.py", "render")

    assert finished(log_line, sampled.part_of) == "log line"
    assert finished(elsewhere, sampled.part_of) == "bookkeeping"
    assert elsewhere(sampled.part_of) == sampled.RELAY


def test_every_rule_of_the_sampler_names_code_that_is_there() -> None:
    for file, function in sampled.RULES:
        text = (Path(sampled.ROOT) / file).read_text()
        assert f"def {function}" in text


def test_quick_runs_judge_nothing_and_others_end_with_their_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Options] = []

    async def part(options: Options) -> Outcome:
        given.append(options)
        assert options.site.folder.is_dir()
        verdict = Verdict(what="a", kind="must", measured=2.0, most=1.0, unit="ms")
        return Outcome(tables={}, verdicts=(verdict,), figures={"a": 2}, notes=("noted",))

    path = tmp_path / "out.json"
    status = main(["--rounds", "3", "--json", str(path)], {"a": part})
    left_out = main(["--part", "b"], {"a": part, "b": part})

    written = json.loads(path.read_text())
    assert (status, left_out, len(given)) == (1, 1, 2)
    assert (given[0].rounds, given[0].quick, given[0].seconds(4.0)) == (3, False, 4.0)
    assert written["a"] == {"a": 2}
    assert written["verdicts"][0]["passes"] is False
    assert "noted" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--part", "never"], ["--page", "/never/there.md"]]
)
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)

    assert "error" in capsys.readouterr().err


def test_all_rows_of_the_table_are_parts() -> None:
    assert tuple(parts()) == (
        "tiny", "prompt", "streams", "latency", "decisions", "scrape", "memory", "capacity",
        "workers", "waiting", "budget",
    )  # fmt: skip


def test_verdicts_are_shown_with_their_outcome() -> None:
    table = verdict_table(
        [
            Verdict(what="w", kind="goal", measured=0.5, most=1.0, unit="x", spread=(0.4, 0.6)),
            Verdict(what="v", kind="must", measured=None, most=1.0, unit="ms"),
        ]
    )

    columns = [list(column.cells) for column in table.columns]

    assert columns[1] == ["0.50x", "not judged"]
    assert columns[4] == ["reached", ""]


def test_waits_of_all_rounds_are_put_together() -> None:
    rounds = [
        waiting.Seen(cpu_s=0.002, wakings_per_s=700.0, ttfts_s=[0.003], gaps_s=[0.01, 0.01]),
        waiting.Seen(cpu_s=0.001, wakings_per_s=500.0, ttfts_s=[0.005], gaps_s=[0.01, 0.05]),
    ]

    outcome = waiting.outcome({("nothing", OURS): rounds}, "mixture decides")

    shown = waiting.figures_of(rounds)
    assert (shown.cpu_ms, shown.wakings_per_s) == pytest.approx((1.5, 600.0))
    assert shown.ttft_ms[0] == pytest.approx(4.0)
    assert shown.gap_ms[0] == pytest.approx(10.0)
    assert shown.gap_ms[2] == pytest.approx(50.0, rel=0.01)
    (table,) = outcome.tables.values()
    assert table.row_count == 1
    assert outcome.verdicts == ()
