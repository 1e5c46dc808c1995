"""The control plane: admin routes, the predictor's API and the live page."""

from proxy.control.app import build_control, build_predictor_app
from proxy.control.errors import (
    ControlError,
    DuplicateEndpoint,
    NoEndpointUp,
    ReloadRefused,
    UnknownEndpoint,
)
from proxy.control.plane import ControlPlane
from proxy.control.predictor_plane import PredictorPlane, Taken
from proxy.control.schemas import FleetView, Mode, TargetView, TrainingView
from proxy.control.settings import ControlSettings, PredictorApiSettings

__all__ = [
    "ControlError",
    "ControlPlane",
    "ControlSettings",
    "DuplicateEndpoint",
    "FleetView",
    "Mode",
    "NoEndpointUp",
    "PredictorApiSettings",
    "PredictorPlane",
    "ReloadRefused",
    "Taken",
    "TargetView",
    "TrainingView",
    "UnknownEndpoint",
    "build_control",
    "build_predictor_app",
]
