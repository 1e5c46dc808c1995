"""The control plane: admin routes, the predictor's API and the live page."""

from proxy.control.access import AdminGate, guards_reads, is_loopback
from proxy.control.app import build_control, build_predictor_app
from proxy.control.errors import (
    ControlError,
    DuplicateEndpoint,
    NoEndpointUp,
    ReloadRefused,
    TooManyPages,
    TrialRefused,
    UnknownEndpoint,
)
from proxy.control.live import Pages
from proxy.control.plane import Belief, ControlPlane
from proxy.control.predictor_plane import PredictorPlane, Taken
from proxy.control.schemas import (
    DecidingView,
    FleetView,
    Mode,
    OtherRouterView,
    RoutersView,
    TargetView,
    TrainingView,
    TrialsBody,
)
from proxy.control.settings import ControlSettings, PredictorApiSettings

__all__ = [
    "AdminGate",
    "Belief",
    "ControlError",
    "ControlPlane",
    "ControlSettings",
    "DecidingView",
    "DuplicateEndpoint",
    "FleetView",
    "Mode",
    "NoEndpointUp",
    "OtherRouterView",
    "Pages",
    "PredictorApiSettings",
    "PredictorPlane",
    "ReloadRefused",
    "RoutersView",
    "Taken",
    "TargetView",
    "TooManyPages",
    "TrainingView",
    "TrialRefused",
    "TrialsBody",
    "UnknownEndpoint",
    "build_control",
    "build_predictor_app",
    "guards_reads",
    "is_loopback",
]
