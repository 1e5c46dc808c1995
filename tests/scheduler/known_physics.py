"""A predictor with known physics and a fleet around it, for the scheduler's tests."""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from predictor import OutputLengths, PredictorError
from predictor.features import COLUMN
from predictor.types import (
    EndpointState,
    FloatArray,
    Layer,
    Objective,
    Observation,
    Predictions,
    RequestFeatures,
)
from scheduler import Fleet, FleetFactory, Scheduler, SchedulerSettings, build_policy
from scheduler.bookings import Bookings, Ledger, Sums
from scheduler.peers import Herald, PeerScheduler
from scheduler.words import Queued, Word

MODEL = "m"


@dataclass
class KnownPhysics:
    """Predict by one fixed law, at each endpoint's own speed; remember what it was taught."""

    seconds_per_token: dict[str, float] = field(default_factory=dict)
    layer: Layer = "mixture"
    broken: bool = False
    learned: list[Observation] = field(default_factory=list)

    def predict(
        self, features: FloatArray, endpoints: Sequence[str], hardware: Sequence[str | None]
    ) -> Predictions:
        if self.broken:
            raise PredictorError("broken on purpose")
        rate = np.array([self.seconds_per_token.get(name, 1e-4) for name in endpoints])
        tokens = features[:, COLUMN["queued_prefill_tokens"]]
        prefill_s = rate * features[:, COLUMN["uncached_tokens"]]
        ttft_s = 0.01 + rate * tokens + prefill_s
        tpot_s = 0.01 + 100 * rate * features[:, COLUMN["inflight_requests"]]
        return Predictions(
            ttft_s=ttft_s,
            tpot_s=tpot_s,
            quantiles_s=np.stack(
                [[ttft_s, ttft_s * 1.5, ttft_s * 2], [tpot_s, tpot_s * 1.5, tpot_s * 2]]
            ),
            rank_ttft_s=ttft_s,
            rank_tpot_s=tpot_s,
            prefill_s=prefill_s,
            decode_step_s=rate * 0.1,
            prefill_token_s=rate,
            experts=np.log(np.stack([ttft_s[None], tpot_s[None]])),
            layer=self.layer,
        )

    def learn(self, observation: Observation) -> None:
        self.learned.append(observation)

    def probability(self, predictions: Predictions, objective: Objective) -> FloatArray:
        likely = np.ones(len(predictions.ttft_s))
        if objective.ttft_s is not None:
            likely *= predictions.ttft_s <= objective.ttft_s
        if objective.tpot_s is not None:
            likely *= predictions.tpot_s <= objective.tpot_s
        return likely


def endpoint(name: str, **changes: object) -> EndpointState:
    values: dict[str, object] = {"model": MODEL, "up": True, "scraped_s": 0.0} | changes
    return EndpointState(endpoint=name, url=f"http://{name}", **values)  # type: ignore[arg-type]  # test shorthand


def request(request_id: str = "r", **changes: object) -> RequestFeatures:
    values: dict[str, object] = {"arrived_s": 0.0, "model": MODEL, "prompt_bytes": 4000} | changes
    return RequestFeatures(request_id=request_id, **values)  # type: ignore[arg-type]  # test shorthand


def make_scheduler(
    predictor: KnownPhysics,
    states: Sequence[EndpointState],
    settings: SchedulerSettings | None = None,
) -> Scheduler:
    settings = settings or SchedulerSettings()
    scheduler = Scheduler(
        settings=settings, make_fleet=_fleets(predictor, settings), rng=random.Random(0)
    )
    scheduler.update(states)
    return scheduler


class PeerLink(Ledger, Herald, Protocol):
    """Connect a scheduler with others in every way."""


class Nobody:
    """Stand for others that have nothing in flight and hear nothing."""

    def follow(self, endpoints: Iterable[str]) -> None: ...

    def booked(self, endpoint: str, sums: Sums) -> None: ...

    def changed(self, now: float, *, at_once: bool = False) -> list[tuple[str, Bookings]]:
        return []

    def tell(self, word: Word) -> None: ...


def make_peer(
    link: PeerLink,
    states: Sequence[EndpointState],
    settings: SchedulerSettings | None = None,
    *,
    predictor: KnownPhysics | None = None,
    order: Callable[[Queued], None] | None = None,
) -> PeerScheduler:
    settings = settings or SchedulerSettings()
    scheduler = PeerScheduler(
        settings=settings,
        make_fleet=_fleets(predictor or KnownPhysics(), settings),
        rng=random.Random(0),
        ledger=link,
        herald=link,
        order=order,
    )
    scheduler.update(states)
    return scheduler


def _fleets(predictor: KnownPhysics, settings: SchedulerSettings) -> FleetFactory:
    return lambda model: Fleet(
        model=model,
        policy=build_policy(settings.policy),
        fallback=build_policy(settings.fallback),
        predictor=predictor,
        output_lengths=OutputLengths(),
    )
