"""The routers that take turns: ours, and the peers of a folder, and how each is called.

Peers are installed elsewhere, each into a virtual environment of its own: a folder has
``NAME/bin/NAME``. One that is not there is left out; nothing here downloads anything. All
log warnings only; ours logs a line per request to a file, as users run it.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foretoken.errors import DemoFailed

OURS: Final = "foretoken"
COMPILED: Final = Path(".venv-compiled/bin/foretoken")

_COMMON: Final = ("--host", "127.0.0.1", "--port", "{port}")
_METRICS: Final = ("--prometheus-host", "127.0.0.1", "--prometheus-port", "{metrics_port}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Say how a peer is started and seen ready.

    Attributes:
        command: What follows its program; ``{port}`` and its like are filled in.
        ready_path: Answers 200 when requests may come.
        ready_text: What that answer then holds; ``{endpoints}`` is filled in.
        environment: Variables it needs.
        policies: Those it is measured with, its default first; empty where it has no choice.
    """

    command: tuple[str, ...]
    ready_path: str
    ready_text: str = ""
    environment: tuple[str, ...] = ()
    policies: tuple[str, ...] = ("cache_aware", "round_robin")


PEERS: Final[dict[str, Peer]] = {
    "sglang-router": Peer(
        command=("launch", *_COMMON, *_METRICS, "--policy", "{policy}", "--log-level", "warn",
                 "--worker-urls"),
        ready_path="/readiness",
        ready_text='"healthy_workers":{endpoints}',
    ),
    "vllm-router": Peer(
        command=(*_COMMON, *_METRICS, "--policy", "{policy}", "--log-level", "warning",
                 "--worker-urls"),
        ready_path="/readiness",
        ready_text='"healthy_workers":{endpoints}',
    ),
    "smg": Peer(
        command=("launch", *_COMMON, *_METRICS, "--policy", "{policy}", "--backend", "vllm",
                 "--log-level", "warn", "--worker-urls"),
        ready_path="/readiness",
        ready_text='"healthy_workers":{endpoints}',
    ),
    "litellm": Peer(
        command=("--config", "{config}", *_COMMON, "--num_workers", "1", "--telemetry", "False"),
        ready_path="/health/liveliness",
        environment=(
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true",
            "LITELLM_LOCAL_MODEL_COST_MAP=True",
        ),
        policies=(),
    ),
}  # fmt: skip
"""By name of program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Name a router that runs.

    Attributes:
        name: Its program, with its policy where that is not its default.
        port: Where it is asked.
        pid: Its process; what it starts descends from that.
    """

    name: str
    port: int
    pid: int

    @property
    def ours(self) -> bool:
        """Say whether it is Foretoken."""
        return self.name.startswith(OURS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Name a router to start.

    Attributes:
        program: Ours, or a key of :data:`PEERS`.
        policy: ``None`` for its default.
        options: More for its command line.
        module: Python module that our own command line is started by, and its arguments.
        interpreted: Whether ours runs from source though a compiled build is there.
        title: What to call it in place of its command line.
    """

    program: str
    policy: str | None = None
    options: tuple[str, ...] = ()
    module: tuple[str, ...] = (OURS,)
    interpreted: bool = False
    title: str = ""

    @property
    def name(self) -> str:
        """Name it in tables.

        >>> Choice(program="smg", policy="round_robin").name
        'smg round_robin'
        """
        kind = ("interpreted",) if self.interpreted else ()
        policy = (self.policy,) if self.policy else ()
        return self.title or " ".join((self.program, *kind, *policy, *self.options))


def installed(folder: Path | None) -> list[str]:
    """List the peers that a folder has, in the order of :data:`PEERS`."""
    return [] if folder is None else [name for name in PEERS if program_of(folder, name).is_file()]


def choices(folder: Path | None, *, cheapest: bool, compiled: bool = False) -> list[Choice]:
    """List what to start: ours, every peer by default, and its cheapest policy where asked.

    Ours is started from source as well where a compiled build takes its place.
    """
    chosen = [Choice(program=OURS)]
    if compiled and cheapest:
        chosen.append(Choice(program=OURS, interpreted=True))
    for name in installed(folder):
        chosen.append(Choice(program=name))
        if cheapest and len(PEERS[name].policies) > 1:
            chosen.append(Choice(program=name, policy=PEERS[name].policies[-1]))
    return chosen


def program_of(folder: Path, name: str) -> Path:
    """Say where a peer's program is."""
    return folder / name / "bin" / name


def peer_command(choice: Choice, endpoints: Sequence[str], **filled: str) -> list[str]:
    """Write what follows a peer's program.

    >>> peer_command(Choice(program="smg"), ["http://a"], port="1", metrics_port="2")[-4:]
    ['--log-level', 'warn', '--worker-urls', 'http://a']
    """
    peer = PEERS[choice.program]
    policy = choice.policy or (peer.policies[0] if peer.policies else "")
    values = {"policy": policy, "config": "", **filled}
    named = endpoints if peer.policies else ()
    return [*(part.format(**values) for part in peer.command), *choice.options, *named]


def litellm_config(endpoints: Sequence[str]) -> str:
    """Write LiteLLM's configuration file: the endpoints as one model, by latency."""
    models = "".join(
        f"  - model_name: stub\n    litellm_params: "
        f"{{model: openai/stub, api_base: {url}/v1, api_key: none}}\n"
        for url in endpoints
    )
    return (
        f"model_list:\n{models}router_settings:\n  routing_strategy: latency-based-routing\n"
        "litellm_settings:\n  drop_params: true\n  set_verbose: false\n"
    )


def compiled_program(given: Path | None) -> Path | None:
    """Find a compiled build: the option's, else what ``make compiled`` has installed, else none.

    Raises:
        DemoFailed: There is no such program.
    """
    if given is not None and not given.is_file():
        raise DemoFailed(f"{given} is not there; --foretoken names the program of a build")
    program = given or COMPILED
    return program.absolute() if program.is_file() else None


def our_program(compiled: Path | None, module: tuple[str, ...] = (OURS,)) -> tuple[str, ...]:
    """Write what starts ours: a compiled build where there is one, else a module of the source."""
    if compiled is None:
        return (sys.executable, "-m", *module)
    # Not even the trainer it starts is to find the source in the folder it starts in.
    return ("env", "PYTHONSAFEPATH=1", str(compiled))


def peers_folder(given: Path | None) -> Path | None:
    """Find the folder of peers: the option's, else ``PEERS_DIR``'s, else none.

    Raises:
        DemoFailed: There is no such folder.
    """
    named = given or (Path(text) if (text := os.environ.get("PEERS_DIR")) else None)
    if named is not None and not named.is_dir():
        raise DemoFailed(f"{named} is no folder; --peers names one with NAME/bin/NAME in it")
    return named
