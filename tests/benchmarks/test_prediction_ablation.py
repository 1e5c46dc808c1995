import argparse
import io
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.prediction import ablation, recorded
from benchmarks.prediction.cost_table import cost_table
from benchmarks.prediction.musts import Verdict
from benchmarks.prediction.pages import NoPlaces, Pages
from benchmarks.prediction.plays import OURS, Kept, Orders, Plays
from benchmarks.prediction.replay import calibrate, mix, weights
from benchmarks.prediction.rowset import (
    DELAYED,
    ROW_BY_ROW,
    TARGETS,
    Dispatch,
    Label,
    Request,
    RowSet,
    in_order,
)
from benchmarks.prediction.simulated import plan as simulated_plan
from predictor import EXPERTS
from predictor.features import COLUMN, N_FEATURES

LATE = Verdict(what="it", ours=None, reference=None, must="-", passes=False)


def make_set(*, late_s: float) -> RowSet:
    """Make noisy requests to two endpoints, one twice as slow; some labels are refused."""
    rng = np.random.default_rng(1)
    requests, events = [], []
    for number in range(320):
        tokens, queued = float(rng.integers(100, 5000)), float(rng.integers(0, 12))
        features = np.zeros(N_FEATURES)
        features[COLUMN["prompt_tokens"]] = features[COLUMN["uncached_tokens"]] = tokens
        features[COLUMN["queued_requests"]] = queued
        endpoint = number % 2
        requests.append(
            Request(
                endpoint=f"{endpoint}:1",
                hardware=None,
                features=features,
                reference_row=np.zeros(13),
            )
        )
        ttft_s = (1 + endpoint) * (0.01 + tokens * 1e-4 + queued * 0.02) * rng.lognormal(0, 0.1)
        tpot_s = 0.0 if number % 50 == 7 else 0.02 * (1 + endpoint) * rng.lognormal(0, 0.1)
        at_s = number * 0.1
        events += [
            Dispatch(at_s=at_s, request=number),
            Label(at_s=at_s + late_s, request=number, target="ttft", seconds=ttft_s),
            Label(at_s=at_s + 2 * late_s, request=number, target="tpot", seconds=tpot_s or 99.0),
        ]
    order = DELAYED if late_s else ROW_BY_ROW
    return RowSet(name="made", order=order, requests=requests, events=in_order(events))


class MadePlays(Plays):
    """Plays of made-up rows."""

    def __init__(self) -> None:
        super().__init__(Path("unread"))
        late = make_set(late_s=0.7)
        self.__dict__["sets"] = ((make_set(late_s=0.0), late, late),)
        self.__dict__["changed"] = (make_set(late_s=0.0),)


@cache
def plays() -> MadePlays:
    return MadePlays()


def orders() -> Orders:
    return plays().sets[0]


@pytest.fixture(params=[0, 1], ids=["row by row", "label delay"])
def kept(request: pytest.FixtureRequest) -> Kept:
    return plays().of(orders()[request.param], OURS)


def test_replaying_with_every_expert_gives_what_was_served(kept: Kept) -> None:
    mixed = mix(kept)

    assert len(kept.swaps) > 1
    for target in TARGETS:
        np.testing.assert_allclose(mixed[target], kept.played[target].mean_s, rtol=1e-9)


def test_replaying_the_calibration_gives_the_quantiles_that_were_stated(kept: Kept) -> None:
    stated = calibrate(kept)

    for target in TARGETS:
        seen = kept.played[target]
        np.testing.assert_allclose(stated[target], (seen.p50_s, seen.p90_s), rtol=1e-9)


def test_weights_are_those_that_make_the_served_mean(kept: Kept) -> None:
    shares = weights(kept)

    for target in TARGETS:
        seen = kept.played[target]
        spoken = np.where(np.isfinite(seen.experts_s), np.log(seen.experts_s), 0.0)
        log_mean = (shares[target] * spoken).sum(axis=1)
        np.testing.assert_allclose(np.exp(log_mean), seen.mean_s, rtol=1e-9)
        np.testing.assert_allclose(shares[target].sum(axis=1), 1.0)


def test_one_expert_alone_is_served_as_it_is(kept: Kept) -> None:
    alone = mix(kept, silent=[name for name in EXPERTS if name != "smooth"])

    for target in TARGETS:
        seen = kept.played[target]
        np.testing.assert_allclose(alone[target], seen.experts_s[:, EXPERTS.index("smooth")])


def test_the_ladder_ends_with_all_experts_each_added_once() -> None:
    added = [name for _, experts in ablation.LADDER for name in experts]

    assert sorted(added) == sorted(EXPERTS)


def test_the_part_prints_every_variant_and_goes_to_json() -> None:
    console = Console(width=250, file=io.StringIO(), record=True)

    document, met = ablation.main_part(argparse.Namespace(), console, plays=plays(), pages=Pages())

    text, found = console.export_text(), json.loads(json.dumps(document))
    assert met
    assert all(name in text for name in (*ablation.CUMULATIVE, *ablation.LEFT_OUT))
    served = found["cumulative"][ablation.SERVED]["made/row by row/ttft"]
    without = found["left_out"]["without smooth"]["made/row by row/ttft"]
    assert served["mape"] < found["cumulative"]["fleet physics"]["made/row by row/ttft"]["mape"]
    assert served["mape"] != without["mape"]
    assert set(found["forgetting"]["forgets nothing"]) == {
        f"{name}/row by row/{target}"
        for name in ("made", "made, labels x1.7")
        for target in TARGETS
    }


def test_every_place_of_the_page_is_for_a_table_that_some_part_makes() -> None:
    pages, console = Pages(), Console(quiet=True)
    ablation.main_part(argparse.Namespace(), console, plays=plays(), pages=pages)
    pages.show(console, recorded.tables(recorded.Results(), [LATE]))
    pages.show(console, {"cost": cost_table([])})
    pages.show(console, {f"simulated-{name}": Table() for name in simulated_plan.PARTS})
    page = (Path(__file__).parents[2] / "docs" / "prediction.md").read_text()

    places = re.findall(r"<!-- ([a-z0-9-]+) -->\n(?:.*?)<!-- /\1 -->", page, re.DOTALL)

    assert len(places) == page.count("<!-- /")
    assert set(places) <= set(pages.names)


def test_a_page_without_places_is_refused_by_name(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Nothing\n")

    with pytest.raises(NoPlaces, match=r"page\.md"):
        Pages().fill(page)
