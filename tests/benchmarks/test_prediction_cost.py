import numpy as np
import pytest

from benchmarks.prediction import cost, cost_rows
from benchmarks.prediction.cost_table import Cost
from benchmarks.prediction.rowset import ROW_BY_ROW, Dispatch, Label, Request, RowSet, Target
from predictor.features import COLUMN, N_FEATURES

TINY = cost.Effort(rows=240, taught=40, rounds=2, calls=3, trainings=1)


def make_set(*targets: Target) -> RowSet:
    """Make ninety requests whose labels are whole milliseconds of these targets."""
    requests, events = [], []
    for number in range(90):
        features = np.zeros(N_FEATURES)
        features[COLUMN["prompt_tokens"]] = features[COLUMN["uncached_tokens"]] = 10.0 * number
        requests.append(
            Request(
                endpoint="a:1",
                hardware=None,
                features=features,
                reference_row=np.zeros(13),
            )
        )
        at_s = float(number)
        events += [
            Dispatch(at_s=at_s, request=number),
            *(
                Label(at_s=at_s, request=number, target=target, seconds=0.02 + number / 1e3)
                for target in targets
            ),
        ]
    return RowSet(name="made", order=ROW_BY_ROW, requests=requests, events=events)


def test_everything_is_measured_beside_what_llm_d_has_of_it() -> None:
    costs = cost.measure([make_set("ttft", "tpot")], TINY)

    by_name = {one.what: one for one in costs}
    for count in cost.ENDPOINTS:
        predicted = by_name[f"prediction, {count} endpoints, with trees"]
        assert predicted.must_s == cost.PREDICT_MUST_S[count]
        assert all((predicted.p50_s, predicted.p90_s, predicted.llmd_p50_s))
        assert by_name[f"full training of TPOT, {count} endpoints"].must_s == cost.REFIT_MUST_S
        assert by_name[f"continued training of both, {count} endpoints"].must_s is None
    assert costs[-1].p50_s is None
    assert costs[-1].llmd_p50_s


def test_labels_are_repeated_until_there_are_enough() -> None:
    labels = cost_rows.labels_of([make_set("ttft", "tpot")], 0, 200)

    table = cost_rows.table_of(labels, 8)

    assert table.counts == [200, 0]
    assert len(set(table.endpoints)) == 8
    assert np.diff(table.observed_s).min() > 0
    assert labels[0].row.features is labels[90].row.features


def test_a_set_without_one_target_is_refused() -> None:
    with pytest.raises(cost_rows.NoLabels, match="TPOT"):
        cost.measure([make_set("ttft")], TINY)


def test_a_must_is_kept_at_its_limit_and_not_without_a_figure() -> None:
    assert Cost(what="it", p50_s=1.0, must_s=1.0).passes
    assert Cost(what="it").passes
    assert not Cost(what="it", p50_s=1.1, must_s=1.0).passes
    assert not Cost(what="it", must_s=1.0).passes
