"""What the control plane needs of the running service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from predictor.types import Decision, EndpointLoad, EndpointState, FloatArray, RequestFeatures
from proxy.control.schemas import DecidingView, FleetView, Mode, RoutersView, TrialsBody
from proxy.history import History
from scheduler import Forecast, Standing, TierSettings, Typical


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Say how far a fleet's experts are believed now.

    Attributes:
        version: Of the trained model that takes part, ``None`` without one.
        layer: What predictions rest on.
        weights: ``(2, n_experts, n)`` by target, expert and row asked about; they sum to 1
            over the experts.
    """

    version: str | None
    layer: str
    weights: FloatArray


class ControlPlane(Protocol):
    """Let people look at the running service and change it.

    One object, because its methods are about one thing: the state behind one router.
    All are called on the event loop.

    Attributes:
        history: The last finished requests.
        epoch_s: Unix time at which the clock of ``now`` read zero.
        mode: Who decides.
        tiers: The tiers of service by name.
    """

    @property
    def history(self) -> History:
        """Give the last finished requests."""
        ...

    @property
    def epoch_s(self) -> float:
        """Give the Unix time at which the clock of :meth:`now` read zero."""
        ...

    @property
    def mode(self) -> Mode:
        """Say who decides."""
        ...

    @property
    def tiers(self) -> Mapping[str, TierSettings]:
        """Give the tiers of service, the default one first."""
        ...

    def now(self) -> float:
        """Read the clock that records and states are stamped with, in seconds."""
        ...

    def set_mode(self, mode: Mode) -> None:
        """Change who decides, from the next request on."""
        ...

    def deciding(self) -> Sequence[DecidingView]:
        """Say who decides in each fleet, and what is on trial there."""
        ...

    def set_trials(self, trials: TrialsBody) -> None:
        """Change what is on trial, until the configuration file next changes.

        Raises:
            TrialRefused: A policy needs what is not produced here.
        """
        ...

    def endpoints(self) -> Sequence[tuple[EndpointState, EndpointLoad]]:
        """Give every known endpoint with what this router has in flight there."""
        ...

    def suspicion(self, endpoint: str) -> str | None:
        """Say why an endpoint is left alone for now, ``None`` where it is not."""
        ...

    def forecast(self, model: str, typical: Typical) -> Forecast | None:
        """Predict a typical request at each endpoint of a fleet that is up.

        Returns:
            ``None`` where there is none, or the predictor cannot or must not be asked.
        """
        ...

    def standing(self) -> Sequence[Standing]:
        """List the requests that wait in the scheduler's queue."""
        ...

    def models(self) -> Sequence[FleetView]:
        """Describe the models of each fleet."""
        ...

    def routers(self) -> RoutersView:
        """Say how this router stands with others."""
        ...

    def belief(self, fleet: str, features: FloatArray) -> Belief | None:
        """Say how far a fleet's experts are believed about such rows, ``None``: no such fleet."""
        ...

    def predict(self, request: RequestFeatures) -> Decision:
        """Decide about a request as if it came now, and book nothing.

        Raises:
            ModelNotFound: No fleet serves that model.
        """
        ...

    def clear_answers(self) -> int:
        """Forget every answer of the response cache; say how many there were."""
        ...

    def drain(self, endpoint: str, *, draining: bool) -> None:
        """Start or stop keeping new requests from an endpoint.

        Raises:
            UnknownEndpoint: No such endpoint.
        """
        ...

    async def add_endpoint(self, url: str, *, hardware: str | None) -> str:
        """Add an endpoint and give its name.

        Raises:
            DuplicateEndpoint: It is known already.
        """
        ...

    async def remove_endpoint(self, endpoint: str) -> None:
        """Have an endpoint leave: what is in flight there runs to its end, then it is forgotten.

        Raises:
            UnknownEndpoint: No such endpoint.
        """
        ...

    async def reload(self) -> Sequence[str]:
        """Read the configuration again and give the paths of the settings that changed.

        Raises:
            ReloadRefused: It is invalid; the old one stays in force.
        """
        ...
