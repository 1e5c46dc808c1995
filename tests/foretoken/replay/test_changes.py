"""The share of objectives kept, of runs made by hand."""

from collections.abc import Sequence

import pytest

from foretoken.replay.changes import attained
from foretoken.replay.demand import LEAST_ANSWERED, demand_of
from predictor.types import Objective
from tests.foretoken.played import answered, played
from tests.foretoken.replay.rows import recorded

DEMAND = demand_of(
    [recorded(number, objective=Objective(ttft_s=0.2)) for number in range(LEAST_ANSWERED)]
)


@pytest.mark.parametrize(
    ("ttfts_s", "shed", "share"),
    [
        ([0.1, 0.1, 0.3], 0, 2 / 3),
        ([0.1, 0.1], 2, 1 / 2),
        ([0.1, None, None], 1, 3 / 4),  # those that do not tell are as the one that does
        ([0.1, 0.3, None, None], 4, 1 / 4),
        ([None, None], 1, None),
        ([], 2, 0.0),
        ([], 0, None),
    ],
)
def test_answers_that_do_not_tell_count_as_those_that_do(
    ttfts_s: Sequence[float | None], shed: int, share: float | None
) -> None:
    ended = [(ttft_s, "completed") for ttft_s in ttfts_s] + [(None, "shed")] * shed
    run = played(
        *(
            answered(float(number), ttft_s=ttft_s, outcome=outcome, request_id=str(number))
            for number, (ttft_s, outcome) in enumerate(ended)
        )
    )

    assert attained(run, DEMAND) == share
