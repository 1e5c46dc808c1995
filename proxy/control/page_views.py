"""What the live page shows, gathered from the running service.

Only while a page is open is anything here worked out, and the costly part of it at most
once per interval however many pages are: :class:`Snapshots` keeps the last one. All of it
is read on the event loop, in a few milliseconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from math import inf, isfinite
from typing import Final

from xxhash import xxh3_64_intdigest

from predictor.types import Decision, RequestRecord
from proxy.attainment import is_met
from proxy.control.page_schemas import (
    DecisionRow,
    PointView,
    SecondView,
    Snapshot,
    TierView,
    TrialView,
    TypicalView,
)
from proxy.control.plane import ControlPlane
from proxy.control.typical import typicals
from proxy.control.views import decision_summary, endpoint_views
from proxy.history import SecondSummary
from scheduler import Standing, TierSettings, Typical
from scheduler.wishes import objective_of

DECISIONS: Final = 25
"""Rows of the list of decisions: what fits a screen or two."""
POINTS: Final = 600
"""Points of the scatter plots in one event: more hide each other."""


class Snapshots:
    """Make snapshots; what is the same for every page is made once per interval.

    Args:
        plane: The running service.
        interval_s: Time between two snapshots of one page.
    """

    def __init__(self, plane: ControlPlane, *, interval_s: float) -> None:
        self._plane = plane
        self._interval_s = interval_s
        self._made_s = -inf
        self._last: Snapshot | None = None

    def since(self, since_s: float) -> Snapshot:
        """Describe the service, with the series and points from a clock second on."""
        plane = self._plane
        now, whole = plane.now(), self._last
        # Pages that look at about the same time see the same.
        if whole is None or not 0 <= now - self._made_s < self._interval_s / 2:
            whole = self._last = _whole(plane, self._interval_s)
            self._made_s = now
        return whole.model_copy(
            update={
                "series": [
                    second_view(one, plane.epoch_s) for one in plane.history.series(since_s=since_s)
                ],
                "points": points(plane.history.finished_after(since_s, most=POINTS), plane.epoch_s),
            }
        )


def _whole(plane: ControlPlane, interval_s: float) -> Snapshot:
    records, asked = plane.history.latest(len(plane.history)), typicals(plane)
    return Snapshot(
        at_s=plane.epoch_s + plane.now(),
        interval_s=interval_s,
        mode=plane.mode,
        requests=len(records),
        since_at_s=plane.epoch_s + records[-1].finished_s if records else None,
        endpoints=endpoint_views(plane, asked),
        typical=[typical_view(model, one) for model, one in asked.items()],
        models=list(plane.models()),
        deciding=list(plane.deciding()),
        tiers=tier_views(plane.tiers, records, plane.standing(), plane.now()),
        trials=trial_views(records),
        decisions=[decision_row(one, plane) for one in records[:DECISIONS]],
        series=[],
        points=[],
    )


def points(records: Iterable[RequestRecord], epoch_s: float) -> list[PointView]:
    """Give what was predicted and measured of completed requests."""
    found: list[PointView] = []
    for record in records:
        decision = record.decision
        if decision is None or decision.predictions is None:
            continue
        if record.measurement.outcome != "completed":
            continue
        said, chosen = decision.predictions, decision.chosen
        found.append(
            PointView(
                at_s=epoch_s + record.finished_s,
                predicted_ttft_s=said.ttft_s.item(chosen),
                ttft_p90_s=said.ttft_p90_s.item(chosen),
                ttft_s=record.upstream_ttft_s,
                predicted_tpot_s=said.tpot_s.item(chosen),
                tpot_p90_s=said.tpot_p90_s.item(chosen),
                tpot_s=record.tpot_s,
            )
        )
    return found


def decision_row(record: RequestRecord, plane: ControlPlane) -> DecisionRow:
    """Describe one finished request, and how close its decision was."""
    decision = record.decision
    runner_up = None if decision is None else _runner_up(decision)
    return DecisionRow(
        **dict(decision_summary(record, plane.epoch_s)),
        tier=record.request.tier or next(iter(plane.tiers)),
        refused=record.refused,
        queued_s=record.queued_s,
        waited_for=record.waited_for,
        choices=0 if decision is None else len(decision.endpoints),
        runner_up=None if runner_up is None or decision is None else decision.endpoints[runner_up],
        ahead=None if runner_up is None or decision is None else _ahead(decision, runner_up),
    )


def tier_views(
    tiers: Mapping[str, TierSettings],
    records: Sequence[RequestRecord],
    waiting: Sequence[Standing],
    now: float,
) -> list[TierView]:
    """Describe each tier: objective, the last requests that had one, who waits.

    A tier that a reload took away stays for as long as requests of it wait.
    """
    default = next(iter(tiers))
    judged: defaultdict[str, list[bool]] = defaultdict(list)
    queues: defaultdict[str, list[Standing]] = defaultdict(list)
    for record in records:
        name = record.request.tier or default
        tier = tiers.get(name)
        met = None if tier is None else is_met(record, objective_of(record.request, tier))
        if met is not None:
            judged[name].append(met)
    for one in waiting:
        queues[one.tier or default].append(one)
    shown = {**tiers, **{name: TierSettings() for name in queues if name not in tiers}}
    return [
        TierView(
            tier=name,
            ttft_s=tier.ttft_s,
            tpot_s=tier.tpot_s,
            judged=len(judged[name]),
            met=sum(judged[name]),
            waiting=len(queues[name]),
            tenants=sorted({_hashed(one.tenant) for one in queues[name]}),
            oldest_s=max((max(now - one.since_s, 0.0) for one in queues[name]), default=None),
        )
        for name, tier in shown.items()
    ]


def trial_views(records: Iterable[RequestRecord]) -> list[TrialView]:
    """Compare policies in shadow with those that decided."""
    sums: dict[tuple[str, str, str], list[tuple[bool, float, float]]] = defaultdict(list)
    for record in records:
        decision = record.decision
        if decision is None or decision.shadow_policy is None:
            continue
        if decision.predicted_s is None or decision.shadow_predicted_s is None:
            continue
        same = decision.shadow_chosen == decision.chosen
        sums[record.fleet or "", decision.policy, decision.shadow_policy].append(
            (same, decision.predicted_s, decision.shadow_predicted_s)
        )
    return [
        TrialView(
            model=model,
            policy=policy,
            shadow=shadow,
            requests=len(rows),
            same=sum(same for same, _, _ in rows),
            chosen_s=sum(chosen_s for _, chosen_s, _ in rows),
            shadow_s=sum(shadow_s for _, _, shadow_s in rows),
        )
        for (model, policy, shadow), rows in sorted(sums.items())
    ]


def typical_view(model: str, one: Typical) -> TypicalView:
    """Describe a model's typical request."""
    return TypicalView(
        model=model,
        prompt_tokens=one.prompt_tokens,
        cached_tokens=one.cached_tokens,
        output_tokens=one.output_tokens,
        requests=one.requests,
    )


def second_view(second: SecondSummary, epoch_s: float) -> SecondView:
    """Put one second of the series on Unix time."""
    return SecondView(
        at_s=epoch_s + second.second_s,
        requests=second.requests,
        failed=second.failed,
        ttft_s=second.ttft_s,
        predicted_ttft_s=second.predicted_ttft_s,
        tpot_s=second.tpot_s,
        predicted_tpot_s=second.predicted_tpot_s,
    )


def _runner_up(decision: Decision) -> int | None:
    """Give the best candidate but the one chosen, ``None`` where there was no other."""
    return next((i for i in decision.order if i != decision.chosen), None)


def _ahead(decision: Decision, runner_up: int) -> float | None:
    ahead = decision.costs.item(runner_up) - decision.costs.item(decision.chosen)
    return ahead if isfinite(ahead) else None


def _hashed(tenant: str | None) -> int:
    """Tell tenants apart without naming them; 32 bits, which JavaScript holds.

    >>> _hashed(None) == _hashed(None) != _hashed("acme") < 2**32
    True
    """
    return xxh3_64_intdigest(repr(tenant).encode(errors="surrogatepass")) & 0xFFFF_FFFF
