"""Decide where each request goes; pure, fed by events, returns what to do."""

from scheduler.actions import Action, Dispatch, Shed, ShedReason, Standing, Wait, WaitReason
from scheduler.candidates import Signal
from scheduler.capacity import Room
from scheduler.compilation import rehearse
from scheduler.errors import (
    DuplicateRequest,
    MissingSignal,
    ModelNotFound,
    SchedulerError,
    UnknownRequest,
    UnknownTier,
)
from scheduler.fleet import Fleet, FleetFactory, TokenRatio, policies_of
from scheduler.forecast import Forecast, Typical
from scheduler.ladder import FALLBACK_REASONS, Mode, Reason
from scheduler.outlook import Outlook, sized_for
from scheduler.policies import Policy, build_policy
from scheduler.scheduler import Scheduler
from scheduler.settings import (
    POLICIES,
    CanarySettings,
    FleetSettings,
    PolicySettings,
    SchedulerSettings,
    StandbySettings,
    TierSettings,
)
from scheduler.signals import check_signals
from scheduler.suspects import Suspicion, gets_on

__all__ = [
    "FALLBACK_REASONS",
    "POLICIES",
    "Action",
    "CanarySettings",
    "Dispatch",
    "DuplicateRequest",
    "Fleet",
    "FleetFactory",
    "FleetSettings",
    "Forecast",
    "MissingSignal",
    "Mode",
    "ModelNotFound",
    "Outlook",
    "Policy",
    "PolicySettings",
    "Reason",
    "Room",
    "Scheduler",
    "SchedulerError",
    "SchedulerSettings",
    "Shed",
    "ShedReason",
    "Signal",
    "StandbySettings",
    "Standing",
    "Suspicion",
    "TierSettings",
    "TokenRatio",
    "Typical",
    "UnknownRequest",
    "UnknownTier",
    "Wait",
    "WaitReason",
    "build_policy",
    "check_signals",
    "gets_on",
    "policies_of",
    "rehearse",
    "sized_for",
]
