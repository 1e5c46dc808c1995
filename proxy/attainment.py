"""Whether a finished request met its objective, as metrics and the live page both tell it.

One that was refused, failed or was cut missed it. One whose client went or was refused for
its own fault, or that this router's end broke off, says nothing of the service and is not
judged; nor is one whose times nobody could measure. Called by
:mod:`proxy.objective_metrics` and :mod:`proxy.control.page_views`.
"""

from predictor.types import Objective, RequestRecord
from proxy.history import FAILURES


def is_met(record: RequestRecord, objective: Objective) -> bool | None:
    """Tell whether a request met what was asked of it; ``None`` where nobody can say.

    An answer of one token has no gap between tokens: none of its gaps was too long.

    >>> from predictor.types import Measurement, RequestFeatures
    >>> asked = RequestFeatures(request_id="r", arrived_s=0.0, model="m")
    >>> done = RequestRecord(request=asked, fleet="m", decision=None, endpoint="a:1", attempts=1,
    ...                      measurement=Measurement(outcome="completed", output_tokens=9),
    ...                      finished_s=1.0, ttft_s=0.4)
    >>> is_met(done, Objective(ttft_s=0.5)), is_met(done, Objective(ttft_s=0.3, tpot_s=0.1))
    (True, False)
    >>> print(is_met(done, Objective(tpot_s=0.1)))
    None
    """
    measured = record.measurement
    if not objective or (measured.outcome != "completed" and measured.outcome not in FAILURES):
        return None
    if measured.outcome in FAILURES:
        return False
    ttft = _kept(objective.ttft_s, record.ttft_s)
    single = measured.output_tokens is not None and measured.output_tokens < 2
    tpot = True if single else _kept(objective.tpot_s, record.tpot_s)
    if ttft is False or tpot is False:
        return False
    return None if ttft is None or tpot is None else True


def _kept(limit_s: float | None, actual_s: float | None) -> bool | None:
    if limit_s is None:
        return True
    return None if actual_s is None else actual_s <= limit_s
