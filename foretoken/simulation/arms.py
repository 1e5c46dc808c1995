"""The arms of an experiment: every policy one can simulate, by name.

An arm is what decides in a run: a policy and what predicts for it. The scheduler's own
policies are arms as they stand; beside them are the references, which know what no
router can know, and the published predictor this project is compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from foretoken.simulation.ideal import IdealPhysics
from foretoken.simulation.llmd_predictor import RETRAIN_S, LlmdLatencyPolicy, LlmdPredictor
from foretoken.simulation.oracles import ORACLES
from foretoken.simulation.witness import Witness
from foretoken.simulation.world import World
from predictor import (
    LatencyPredictor,
    ModelSnapshot,
    OutputLengths,
    PredictorError,
    PredictorSettings,
    Retraining,
    TrainingRefused,
)
from predictor.protocol import Predictor
from predictor.types import FloatArray, Observation, Predictions
from scheduler import POLICIES, Fleet, Policy, SchedulerSettings, build_policy
from simulator.fleets import EndpointSpec

TRAIN_EVERY_S: Final = 10.0
"""Time of the run between two trainings: at the live trainer's three seconds, training
would be most of what a run costs."""


class NoPredictor:
    """Stand in for a predictor where the policy does not read predictions."""

    def predict(self, *_: object) -> Predictions:
        """Decline.

        Raises:
            PredictorError: Always.
        """
        raise PredictorError("this arm has no predictor")

    def learn(self, observation: Observation) -> None:
        """Forget it."""

    def probability(self, *_: object) -> FloatArray:
        """Decline.

        Raises:
            PredictorError: Always.
        """
        raise PredictorError("this arm has no predictor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Brain:
    """Hold what decides in one run.

    Attributes:
        policy: Scores candidates.
        predictor: Predicts for it; none does where the policy reads no predictions.
        observe: Takes in every finished request, ``None`` where nothing trains.
        train: Trains at a given time, every ``train_every_s``.
        train_every_s: Seconds between two trainings.
        witness: Is told what happens, ``None`` where nobody looks on.
    """

    policy: Policy
    predictor: Predictor = field(default_factory=NoPredictor)
    observe: Callable[[Observation], None] | None = None
    train: Callable[[float], None] | None = None
    train_every_s: float = TRAIN_EVERY_S
    witness: Witness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Name an arm and say how to build what decides in it.

    Attributes:
        name: As given on the command line.
        build: Makes it for one run.
        is_reference: Whether it knows what no router can know.
    """

    name: str
    build: Callable[[World], Brain]
    is_reference: bool = False


def production_fleet(model: str, brain: Brain, settings: SchedulerSettings) -> Fleet:
    """Build a fleet as the service does, with an arm's policy and predictor."""
    return Fleet(
        model=model,
        policy=brain.policy,
        fallback=build_policy(settings.fallback),
        predictor=brain.predictor,
        output_lengths=OutputLengths(PredictorSettings().output_length),
    )


class VirtualTrainer:
    """Train as the trainer process does, at once and in virtual time.

    The same window, the same training and the same refusal of models that are worse.
    """

    def __init__(self, predictor: LatencyPredictor, settings: PredictorSettings) -> None:
        self._predictor = predictor
        self._retraining = Retraining(settings)
        self._served: ModelSnapshot | None = None

    def observe(self, observation: Observation) -> None:
        """Keep a finished request for the next training."""
        self._retraining.add(observation)

    def train(self, now: float) -> None:
        """Train on the window and serve the outcome, or what it showed to be better."""
        try:
            done = self._retraining.train(self._served)
        except TrainingRefused:
            return
        wanted = done.model.snapshot if done.refusal is None else done.restore
        if wanted is not None:
            self._served = wanted
            self._predictor.swap(wanted, f"{now:g}")


def learned(
    policy: Policy, wrap: Callable[[LatencyPredictor], Predictor] = lambda predictor: predictor
) -> Brain:
    """Let a policy decide on the predictor under test: cold at the start, trained as in service.

    Args:
        policy: Scores candidates.
        wrap: Puts something between the predictor and the policy.
    """
    settings = PredictorSettings()
    predictor = LatencyPredictor(settings)
    trainer = VirtualTrainer(predictor, settings)
    return Brain(
        policy=policy,
        predictor=wrap(predictor),
        observe=trainer.observe,
        train=trainer.train,
    )


def _with_known_speeds(name: str) -> Callable[[World], Brain]:
    return lambda world: Brain(
        policy=build_policy(POLICIES[name]), predictor=IdealPhysics.of(world.fleet)
    )


def _prefix_affinity(name: str) -> Callable[[World], Brain]:
    """Build llm-d's default with its prefill rate calibrated to the fleet, as it asks for."""

    def build(world: World) -> Brain:
        settings = POLICIES[name]
        rates = [_prefill_tokens_per_s(spec) for spec in world.fleet.endpoints]
        calibrated = settings.model_copy(update={"prefill_tokens_per_s": sum(rates) / len(rates)})
        return Brain(policy=build_policy(calibrated))

    return build


def _prefill_tokens_per_s(spec: EndpointSpec) -> float:
    tokens = spec.engine.max_num_batched_tokens or spec.profile.max_num_batched_tokens
    return tokens / spec.profile.step_s([(tokens, 0)], 0, 0) * spec.engine.speed


def _arm(name: str) -> Arm:
    if name == "predicted_latency":
        return Arm(name=name, build=lambda _: learned(build_policy(POLICIES[name])))
    if name.startswith("prefix_affinity"):
        return Arm(name=name, build=_prefix_affinity(name))
    if name.endswith("_speed"):
        return Arm(name=name, build=_with_known_speeds(name))
    return Arm(
        name=name,
        build=lambda _: Brain(policy=build_policy(POLICIES[name])),
    )


def _llmd_predictor(_: World) -> Brain:
    predictor = LlmdPredictor()
    return Brain(
        policy=LlmdLatencyPolicy(),
        predictor=predictor,
        train=predictor.train,
        train_every_s=RETRAIN_S,
    )


def _oracle(name: str) -> Arm:
    build = ORACLES[name]
    return Arm(
        name=name,
        build=lambda world: Brain(policy=build(world)),
        is_reference=True,
    )


ARMS: Final[dict[str, Arm]] = {
    **{name: _arm(name) for name in POLICIES},
    "llmd_predictor": Arm(name="llmd_predictor", build=_llmd_predictor),
    "ideal_score": Arm(
        name="ideal_score", build=_with_known_speeds("predicted_latency"), is_reference=True
    ),
    **{name: _oracle(name) for name in ORACLES},
}
"""Every arm by name."""
