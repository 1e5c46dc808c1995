"""How full each endpoint is, and how many more requests a second it could take.

Three things run out: seats in its batch, its KV cache, and its engine's time. What a
request takes of the last is the predictor's own estimate, of a request like those sent
lately. Asked when somebody scrapes our metrics, for people and autoscalers; nothing that
decides about a request reads it.
"""

from functools import partial
from math import inf, isnan, nan
from typing import Final, NamedTuple

import numpy as np

from predictor import PredictorError
from predictor.feature_rows import request_rows
from predictor.features import COLUMN, TIERS
from predictor.types import FloatArray
from scheduler.endpoint_table import EndpointTable, Members
from scheduler.fleet import Fleet
from scheduler.saturation import FULL_KV

# Below one request in some minutes there is no telling what requests are like.
_LEAST_PER_S: Final = 1e-6


class Room(NamedTuple):
    """Say how full an endpoint is: 0 idle, 1 full, above 1 a queue; NaN for unknown.

    Attributes:
        batch: Requests there over the seats of its batch.
        kv_cache: KV cache in use over what counts as full.
        compute: Seconds of its engine that are asked for in a second.
        spare_requests_per_s: Requests like those of late that it could take on top.
    """

    batch: float
    kv_cache: float
    compute: float
    spare_requests_per_s: float

    @property
    def worst(self) -> float:
        """Give what is fullest of what is known.

        >>> Room(batch=0.5, kv_cache=nan, compute=0.7, spare_requests_per_s=1.0).worst
        0.7
        """
        known = [value for value in self[:3] if not isnan(value)]
        return max(known, default=nan)


class _Cost(NamedTuple):
    """Say what one request takes of an endpoint; NaN for unknown.

    Attributes:
        engine_s: Of its engine's time.
        stay_s: Of a seat's: from dispatch to the last token.
    """

    engine_s: float
    stay_s: float


_UNKNOWN: Final = _Cost(nan, nan)


def rooms(
    fleet: Fleet,
    table: EndpointTable,
    members: Members,
    now: float,
    *,
    stale_after_s: float,
    ask: bool = True,
) -> list[Room]:
    """Give the room at each of some endpoints of a fleet, in their order.

    Args:
        fleet: Theirs.
        table: What is known of them.
        members: Which.
        now: Time on the clock of the table.
        stale_after_s: Scrapes older than this say nothing.
        ask: Whether the predictor may be asked; without it ``compute`` is unknown.
    """
    expected = fleet.output_lengths.expected(None, None)
    rows_for = partial(_rows, table, members, expected, now=now, stale_after_s=stale_after_s)
    seen = rows_for(1.0)
    tokens_per_s = float(seen[:, COLUMN["prefill_tokens_per_s"]].sum())
    requests_per_s = float(seen[:, COLUMN["dispatches_per_s"]].sum())
    costs = [_UNKNOWN] * len(members)
    if ask and requests_per_s > _LEAST_PER_S:
        typical = tokens_per_s / requests_per_s
        costs = _costs(fleet, members, rows_for(typical), typical, expected)
    return [_room(row, cost) for row, cost in zip(seen, costs, strict=True)]


def _rows(
    table: EndpointTable,
    members: Members,
    expected: float,
    prompt_tokens: float,
    *,
    now: float,
    stale_after_s: float,
) -> FloatArray:
    """Give the rows of a request that finds nothing in any cache."""
    return request_rows(
        table.columns,
        members.rows,
        prompt_tokens=max(prompt_tokens, 1.0),
        matched_tokens=np.zeros((len(members), len(TIERS))),
        effectiveness=np.ones(len(members)),
        max_tokens=None,
        expected_output_tokens=expected,
        streamed=True,
        now=now,
        stale_after_s=stale_after_s,
    )


def _costs(
    fleet: Fleet, members: Members, matrix: FloatArray, typical: float, expected: float
) -> list[_Cost]:
    """Give what one more request takes at each."""
    try:
        said = fleet.predictor.predict(matrix, members.names, members.hardware)
    except PredictorError:
        return [_UNKNOWN] * len(members)
    if said.layer == "cold":
        return [_UNKNOWN] * len(members)
    engine_s: FloatArray = typical * said.prefill_token_s + expected * said.decode_step_s
    stay_s: FloatArray = said.ttft_s + expected * said.tpot_s
    return [_Cost(*each) for each in zip(engine_s.tolist(), stay_s.tolist(), strict=True)]


def _room(row: FloatArray, cost: _Cost) -> Room:
    """Make one endpoint's room of what is known of it and of what a request takes there."""

    def of(name: str) -> float:
        return row.item(COLUMN[name])

    running, waiting = of("running_requests"), of("waiting_requests")
    there = float(np.fmax(of("inflight_requests"), running + waiting))
    # One that has requests waiting tells how many it runs at once.
    seats = running if waiting > 0 and running > 0 else of("max_seqs")
    batch, kv_cache = there / seats, of("kv_cache_usage") / FULL_KV
    per_s = of("dispatches_per_s")
    compute = per_s * cost.engine_s
    spare = _spare(per_s, batch, kv_cache, compute, cost.engine_s)
    # However little each asks of the engine, it takes a seat while it stays.
    seated = max(seats - there, 0.0) / cost.stay_s if cost.stay_s > 0.0 else nan
    return Room(batch, kv_cache, compute, float(np.fmin(spare, seated)))


def _spare(per_s: float, batch: float, kv_cache: float, compute: float, engine_s: float) -> float:
    """Give the requests a second until the first of what is known runs out; NaN: unknown.

    >>> round(_spare(2.0, 0.5, 0.25, 0.2, 0.1), 3)
    2.0
    >>> _spare(2.0, nan, nan, nan, nan), _spare(0.0, 0.0, 0.0, 0.0, 0.1)
    (nan, 10.0)
    """
    room = inf
    for used in (batch, kv_cache):
        if used >= 1.0:
            return 0.0
        if per_s > _LEAST_PER_S and used > 0.0:  # it grows as the rate does
            room = min(room, per_s * (1.0 - used) / used)
    if engine_s > 0.0:
        room = min(room, max(1.0 - compute, 0.0) / engine_s)
    return nan if room == inf else room
