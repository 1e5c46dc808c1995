"""A vLLM endpoint without a GPU: its engine in virtual time, and its HTTP face."""

from simulator.engine import Engine
from simulator.errors import (
    DuplicateRequest,
    RequestRefused,
    RequestTooLong,
    SimulatorError,
    UnknownProfile,
)
from simulator.language import Language, chain_hashes, tokenize, tokenize_chat
from simulator.profiles import Profile, profile, profiles
from simulator.server import SimulatedEndpoint, create_app, serve
from simulator.settings import EndpointSettings, EngineSettings
from simulator.types import Completion, Counters, SimRequest, Step, Token
from simulator.workload import Arrival, ConversationMix, conversations

__all__ = [
    "Arrival",
    "Completion",
    "ConversationMix",
    "Counters",
    "DuplicateRequest",
    "EndpointSettings",
    "Engine",
    "EngineSettings",
    "Language",
    "Profile",
    "RequestRefused",
    "RequestTooLong",
    "SimRequest",
    "SimulatedEndpoint",
    "SimulatorError",
    "Step",
    "Token",
    "UnknownProfile",
    "chain_hashes",
    "conversations",
    "create_app",
    "profile",
    "profiles",
    "serve",
    "tokenize",
    "tokenize_chat",
]
