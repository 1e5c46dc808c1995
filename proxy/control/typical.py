"""What a typical request would see at each endpoint now.

Typical of a model is the median prompt, cached part and output of its last completed
requests; before there are any, a chat's turn. Worked out when somebody looks.
"""

from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from typing import Final

from predictor.types import RequestRecord
from proxy.control.plane import ControlPlane
from scheduler import Forecast, Typical

_RECORDS: Final = 200
"""The last requests that are looked at: enough for a median, soon those of now."""


def typicals(plane: ControlPlane) -> dict[str, Typical]:
    """Describe the typical request of every model that endpoints serve, by its name."""
    seen: defaultdict[str, list[RequestRecord]] = defaultdict(list)
    for record in plane.history.latest(_RECORDS):
        if record.measurement.outcome == "completed" and record.fleet is not None:
            seen[record.fleet].append(record)
    models = {state.model for state, _ in plane.endpoints() if state.model is not None}
    return {model: typical(seen[model]) for model in sorted(models)}


def typical(records: Iterable[RequestRecord]) -> Typical:
    """Take the medians; a default where there is nothing to take them of.

    >>> typical([]).prompt_tokens, typical([]).requests
    (1000.0, 0)
    """
    sizes = [size for record in records if (size := _size(record)) is not None]
    if not sizes:
        return DEFAULT
    prompt, cached, output = (median(column) for column in zip(*sizes, strict=True))
    return Typical(
        prompt_tokens=prompt,
        cached_tokens=min(cached, max(prompt - 1.0, 0.0)),
        output_tokens=output,
        requests=len(sizes),
    )


def forecasts(plane: ControlPlane, asked: dict[str, Typical]) -> list[Forecast]:
    """Predict each model's typical request at its endpoints; those that cannot be are left out."""
    said = (plane.forecast(model, one) for model, one in asked.items())
    return [one for one in said if one is not None]


DEFAULT: Final = Typical(prompt_tokens=1000.0, cached_tokens=0.0, output_tokens=200.0)
"""Asked about until requests have shown what is typical: a chat's turn."""


def _size(record: RequestRecord) -> tuple[float, float, float] | None:
    """Give prompt, cached and output tokens, ``None`` where the endpoint did not say."""
    measured, decision = record.measurement, record.decision
    prompt = measured.prompt_tokens or (decision.prompt_tokens if decision else None)
    if not prompt or not measured.output_tokens:
        return None
    cached = measured.cached_tokens
    if cached is None and decision is not None:  # it does not say: what was believed stands in
        cached = int(decision.matched_tokens.item(decision.chosen))
    return float(prompt), float(cached or 0), float(measured.output_tokens)
