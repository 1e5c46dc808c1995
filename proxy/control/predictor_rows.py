"""Turn the predictor API's bodies into feature rows and observations.

An endpoint described by state and load goes through
:func:`predictor.features.feature_matrix`, as in serving; a row given whole is taken as it
is, what it leaves out unknown.
"""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np

from predictor.feature_rows import feature_matrix
from predictor.features import NAMES, UNKNOWN
from predictor.types import EndpointLoad, EndpointState, FloatArray, Observation
from proxy.control.predictor_schemas import EndpointBody, Numbers, ObservedBody, RequestBody

_OPTIONAL: Final = {field.name for field in fields(EndpointLoad) if field.default is None}
_WHOLE: Final = {field.name for field in fields(EndpointState) if field.type == int | None}
_FUTURE_S: Final = 60.0  # clocks of two machines differ by less
_OLD_S: Final = 3600.0  # what an hour-old request shows, traffic since has shown too


def predicted_rows(
    request: RequestBody | None, endpoints: Sequence[EndpointBody], *, now: float
) -> FloatArray:
    """Build the ``(n, n_features)`` rows that one request has at ``n`` endpoints.

    The request is there unless every endpoint has features: the bodies see to it.

    >>> row = predicted_rows(RequestBody(prompt_tokens=1000), [
    ...     EndpointBody(endpoint="a:1", cached_tokens=600, load={"queued_requests": 2})],
    ...     now=0.0)[0]
    >>> [float(row[NAMES.index(name)]) for name in ("uncached_tokens", "queued_requests")]
    [400.0, 2.0]
    """
    matrix = np.empty((len(endpoints), len(NAMES)))
    described = [index for index, each in enumerate(endpoints) if each.features is None]
    for index, each in enumerate(endpoints):
        if each.features is not None:
            matrix[index] = _row(each.features)
    if request is not None and described:
        matrix[described] = _described(request, [endpoints[index] for index in described], now)
    return matrix


def observations_of(
    model: str, bodies: Sequence[ObservedBody], *, now: float
) -> tuple[list[Observation], dict[str, int]]:
    """Turn a batch into observations; give those out of their time, counted by reason."""
    observations: list[Observation] = []
    refused: dict[str, int] = {}
    for body in bodies:
        observed_s = now if body.observed_at_s is None else body.observed_at_s
        reason = _out_of_time(observed_s, now)
        if reason is not None:
            refused[reason] = refused.get(reason, 0) + 1
            continue
        observations.append(
            Observation(
                endpoint=body.endpoint,
                model=model,
                hardware=body.hardware,
                observed_s=min(observed_s, now),
                features=predicted_rows(body.request, [body], now=now)[0],
                upstream_ttft_s=body.upstream_ttft_s,
                tpot_s=body.tpot_s,
                total_s=body.total_s,
                waited_s=body.waited_s,
                use=body.use,
                output_tokens=body.output_tokens,
            )
        )
    return observations, refused


def features_of(row: FloatArray) -> Numbers:
    """Name a row's known numbers, the unknown ones as ``None``."""
    return {
        name: value if math.isfinite(value) else None
        for name, value in zip(NAMES, row.tolist(), strict=True)
    }


def _described(request: RequestBody, endpoints: Sequence[EndpointBody], now: float) -> FloatArray:
    expected = request.expected_output_tokens
    return feature_matrix(
        prompt_tokens=request.prompt_tokens,
        cached_tokens=np.array([each.cached_tokens for each in endpoints]),
        max_tokens=request.max_tokens,
        expected_output_tokens=UNKNOWN if expected is None else expected,
        streamed=request.streamed,
        states=[_state(each, now) for each in endpoints],
        loads=[_load(each.load) for each in endpoints],
        now=now,
    )


def _state(body: EndpointBody, now: float) -> EndpointState:
    # Any: the names were checked against the fields, and arrays take any number.
    numbers: dict[str, Any] = {
        name: int(value) if name in _WHOLE and value is not None else value
        for name, value in body.state.items()
    }
    age_s = numbers.pop("scrape_age_s", None)
    return EndpointState(
        endpoint=body.endpoint,
        url="",
        scraped_s=None if age_s is None else now - age_s,
        **numbers,
    )


def _load(given: Numbers) -> EndpointLoad:
    # Any: as above. A count given as null is unknown, one left out is nothing in flight.
    numbers: dict[str, Any] = {
        name: UNKNOWN if value is None and name not in _OPTIONAL else value
        for name, value in given.items()
    }
    return EndpointLoad(**numbers)


def _row(given: Numbers) -> FloatArray:
    values = (given.get(name) for name in NAMES)
    return np.array([UNKNOWN if value is None else value for value in values])


def _out_of_time(observed_s: float, now: float) -> str | None:
    if observed_s > now + _FUTURE_S:
        return "observed_in_the_future"
    return "observed_too_long_ago" if observed_s < now - _OLD_S else None
