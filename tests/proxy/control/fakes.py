"""A service of two endpoints that the control plane's tests look at and change."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import numpy as np

from predictor.experts import EXPERTS, N_EXPERTS
from predictor.features import N_FEATURES
from predictor.types import (
    Decision,
    EndpointLoad,
    EndpointState,
    FloatArray,
    Measurement,
    Observation,
    Predictions,
    RequestFeatures,
    RequestRecord,
)
from proxy.control import (
    Belief,
    ControlSettings,
    DecidingView,
    DuplicateEndpoint,
    FleetView,
    Mode,
    OtherRouterView,
    ReloadRefused,
    RoutersView,
    TargetView,
    TrainingView,
    TrialsBody,
    UnknownEndpoint,
    build_control,
)
from proxy.history import History
from scheduler import Forecast, Standing, TierSettings, Typical
from scheduler.errors import ModelNotFound

EPOCH_S = 1_790_000_000.0
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
NAMES = ("10.0.0.1:8000", "10.0.0.2:8000")


class FakePlane:
    """The service behind the control plane, without a service."""

    def __init__(self, *, now: float = 1000.0, clock: Callable[[], float] | None = None) -> None:
        self.history = History(requests=500, seconds=300)
        self.epoch_s = EPOCH_S
        self.mode: Mode = "predicted"
        self.trials = TrialsBody()
        self.clock = clock or (lambda: now)
        self.answers = 3
        self.states = {
            name: EndpointState(
                endpoint=name,
                url=f"http://{name}",
                model=MODEL,
                hardware=hardware,
                up=True,
                running_requests=7,
                waiting_requests=1,
                kv_cache_usage=0.42,
                scraped_s=now - 0.25,
            )
            for name, hardware in zip(NAMES, ("H100 SXM", "A100"), strict=True)
        }
        self.asked: list[RequestFeatures] = []
        self.suspects: dict[str, str] = {}
        self.typical: Typical | None = None
        self.queue: list[Standing] = []
        self.fleets = [fleet()]
        self.tiers = {
            "standard": TierSettings(),
            "interactive": TierSettings(ttft_s=0.5, tpot_s=0.05, priority=10),
            "batch": TierSettings(priority=-10, sheddable=True),
        }
        self.reload_error: str | None = None
        self.snapshots_left = 1
        self.closing = asyncio.Event()

    def now(self) -> float:
        return self.clock()

    def set_mode(self, mode: Mode) -> None:
        self.mode = mode

    def deciding(self) -> Sequence[DecidingView]:
        canary = self.trials.canary
        return [
            DecidingView(
                model=MODEL,
                level="prior",
                reason="predicted",
                since_at_s=EPOCH_S,
                policy="predicted_latency",
                fallback="lmetric",
                shadow=None if self.trials.shadow is None else self.trials.shadow.kind,
                canary=None if canary is None else canary.policy.kind,
                canary_share_ratio=0.0 if canary is None else canary.share,
                session="prefer",
            )
        ]

    def set_trials(self, trials: TrialsBody) -> None:
        self.trials = trials

    def endpoints(self) -> Sequence[tuple[EndpointState, EndpointLoad]]:
        return [(s, EndpointLoad(inflight_requests=8)) for s in self.states.values()]

    def suspicion(self, endpoint: str) -> str | None:
        return self.suspects.get(endpoint)

    def forecast(self, model: str, typical: Typical) -> Forecast | None:
        self.typical = typical
        up = tuple(s.endpoint for s in self.states.values() if s.up and s.model == model)
        said = decision(ttft_s=(0.1, 0.2)).predictions
        return Forecast(endpoints=up, predictions=said) if said and up == NAMES else None

    def standing(self) -> Sequence[Standing]:
        return self.queue

    def models(self) -> Sequence[FleetView]:
        # Asked once per snapshot: counts them and closes the stream after the last.
        self.snapshots_left -= 1
        if self.snapshots_left <= 0:
            self.closing.set()
        return self.fleets

    def routers(self) -> RoutersView:
        other = OtherRouterView(name="two", heard_age_s=0.2, same_store=True, training=True)
        return RoutersView(
            configured=True,
            name="one",
            connected=False,
            problem="timeout",
            shares_store=True,
            training=False,
            others=[other],
        )

    def belief(self, fleet: str, features: FloatArray) -> Belief | None:
        if fleet != MODEL:
            return None
        weights = np.full((2, N_EXPERTS, len(features)), 0.5 / (N_EXPERTS - 1))
        weights[:, EXPERTS.index("prior")] = 0.5
        return Belief(version="20261121T104500-9c1d", layer="mixture", weights=weights)

    def predict(self, request: RequestFeatures) -> Decision:
        self.asked.append(request)
        if request.model != MODEL:
            raise ModelNotFound(request.model, (MODEL,))
        return decision(ttft_s=(0.1, 0.2))

    def clear_answers(self) -> int:
        answers, self.answers = self.answers, 0
        return answers

    def drain(self, endpoint: str, *, draining: bool) -> None:
        state = self._known(endpoint)
        self.states[endpoint] = EndpointState(
            endpoint=endpoint, url=state.url, up=True, draining=draining
        )

    async def add_endpoint(self, url: str, *, hardware: str | None) -> str:
        name = url.removeprefix("http://")
        if name in self.states:
            raise DuplicateEndpoint(name)
        self.states[name] = EndpointState(endpoint=name, url=url, hardware=hardware)
        return name

    async def remove_endpoint(self, endpoint: str) -> None:
        self._known(endpoint)
        del self.states[endpoint]

    async def reload(self) -> Sequence[str]:
        if self.reload_error:
            raise ReloadRefused(self.reload_error)
        return ["scheduler.mode"]

    def _known(self, endpoint: str) -> EndpointState:
        if endpoint not in self.states:
            raise UnknownEndpoint(endpoint)
        return self.states[endpoint]


def fleet() -> FleetView:
    weights = {"prior": 0.18, "prior_river": 0.27, "ratio": 0.55}
    return FleetView(
        model=MODEL,
        version="20261121T103000-4f2a",
        layer="mixture",
        targets=[
            TargetView(target="ttft", mdape_ratio=0.11, coverage_ratio=0.91, weights=weights),
            TargetView(target="tpot", mdape_ratio=0.06, coverage_ratio=0.88, weights=weights),
        ],
        observations=12_345,
        refused={"no_first_token": 3},
        training=TrainingView(
            alive=True, last_result="accepted", last_run_at_s=EPOCH_S + 990, seconds=0.4, rows=8000
        ),
    )


def decision(*, ttft_s: tuple[float, float] = (0.1, 0.2), shadow: int | None = None) -> Decision:
    """Two candidates; the one with the lower TTFT is chosen."""
    ttft = np.array(ttft_s)
    tpot = np.array([0.02, 0.03])
    chosen = int(ttft.argmin())
    return Decision(
        endpoints=NAMES,
        features=np.zeros((2, N_FEATURES)),
        matched_tokens=np.array([512.0, 0.0]),
        predictions=Predictions(
            ttft_s=ttft,
            tpot_s=tpot,
            quantiles_s=np.stack([[ttft, ttft * 1.5, ttft * 2], [tpot, tpot * 1.2, tpot * 1.5]]),
            rank_ttft_s=ttft,
            rank_tpot_s=tpot,
            prefill_s=ttft / 2,
            decode_step_s=tpot / 100,
            prefill_token_s=np.full(2, 1e-4),
            experts=np.log(np.stack([[ttft] * N_EXPERTS, [tpot] * N_EXPERTS])),
            layer="mixture",
            version="20261121T103000-4f2a",
        ),
        costs=np.array([ttft[0] + 2.0, np.inf if ttft[1] > 1e6 else ttft[1] + 3.1]),
        terms={"own": ttft + tpot * 100, "others": np.array([0.0, 0.1])},
        chosen=chosen,
        order=(chosen, 1 - chosen),
        policy="predicted_latency",
        reason="predicted",
        shadow_chosen=shadow,
        prompt_tokens=1024,
        decided_s=900.0,
    )


def record(
    request_id: str = "r-1",
    *,
    finished_s: float = 905.0,
    made: Decision | None = None,
    ttft_s: float = 0.125,
    tpot_s: float = 0.02,
) -> RequestRecord:
    """A completed request, predicted by ``made``."""
    made = made or decision()
    assert made.predictions is not None
    return RequestRecord(
        request=RequestFeatures(
            request_id=request_id, arrived_s=finished_s - 5, model=MODEL, block_hashes=(1, 2, 3)
        ),
        fleet=MODEL,
        decision=made,
        endpoint=made.endpoint,
        attempts=1,
        measurement=Measurement(
            outcome="completed",
            prompt_tokens=1020,
            cached_tokens=512,
            output_tokens=150,
            status=200,
        ),
        finished_s=finished_s,
        dispatched_s=finished_s - 5,
        ttft_s=ttft_s + 0.001,
        upstream_ttft_s=ttft_s,
        tpot_s=tpot_s,
        e2e_s=5.0,
        observation=Observation(
            endpoint=made.endpoint,
            model=MODEL,
            hardware="H100 SXM",
            observed_s=finished_s,
            features=made.features[made.chosen],
            upstream_ttft_s=ttft_s,
            tpot_s=tpot_s,
            predicted_ttft_s=float(made.predictions.ttft_s[made.chosen]),
            predicted_tpot_s=float(made.predictions.tpot_s[made.chosen]),
        ),
    )


def shed_record(request_id: str = "r-shed") -> RequestRecord:
    """A request refused before any decision."""
    return RequestRecord(
        request=RequestFeatures(request_id=request_id, arrived_s=900.0, model=MODEL),
        fleet=MODEL,
        decision=None,
        endpoint=None,
        attempts=0,
        measurement=Measurement(outcome="shed"),
        finished_s=901.0,
    )


def busy_plane(*, clock: Callable[[], float], seed: int = 7) -> FakePlane:
    """A plane with five minutes of traffic, for the live page."""
    rng = random.Random(seed)
    now = clock()
    plane = FakePlane(now=now, clock=clock)
    plane.snapshots_left = 1_000_000
    for step in range(600):
        finished_s = now - (600 - step) / 2
        base = 0.12 + 0.1 * (step % 120 > 80) + 0.05 * rng.random()
        made = decision(ttft_s=(base * rng.uniform(0.9, 1.1), base * rng.uniform(0.95, 1.6)))
        plane.history.add(
            record(
                f"chatcmpl-{rng.getrandbits(48):012x}",
                finished_s=finished_s,
                made=made,
                ttft_s=base * rng.lognormvariate(0, 0.15),
                tpot_s=0.021 * rng.lognormvariate(0, 0.08),
            )
        )
    plane.history.add(shed_record())
    plane.states[NAMES[1]] = EndpointState(
        endpoint=NAMES[1], url=f"http://{NAMES[1]}", hardware="A100", draining=True, up=True
    )
    plane.states["10.0.0.3:8000"] = EndpointState(
        endpoint="10.0.0.3:8000", url="http://10.0.0.3:8000"
    )
    return plane


def call(
    plane: FakePlane,
    method: str,
    path: str,
    *,
    client: str = "127.0.0.1",
    settings: ControlSettings | None = None,
    **options: Any,
) -> httpx.Response:
    """Call the control plane of ``plane`` as if from the address ``client``."""
    app = build_control(plane, closing=plane.closing, settings=settings)
    transport = httpx.ASGITransport(app, client=(client, 5000), raise_app_exceptions=False)

    async def _call() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://router") as http:
            return await http.request(method, f"/foretoken{path}", **options)

    return asyncio.run(_call())


def error_of(answer: Any) -> dict[str, Any]:
    """Check the one error form and give what is in it."""
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    found: dict[str, Any] = body["error"]
    return found
