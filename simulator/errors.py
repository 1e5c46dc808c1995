"""What can go wrong in the simulator, one class per thing a caller does differently."""

from typing import ClassVar


class SimulatorError(Exception):
    """Anything the simulator refuses."""


class UnknownName(SimulatorError):
    """Nothing of its kind has that name.

    Attributes:
        kind: What was looked for.
        name: What was asked for.
        known: Every name there is, sorted.
    """

    kind: ClassVar[str]

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"unknown {self.kind} {name!r}; known are: {', '.join(known)}")


class UnknownProfile(UnknownName):
    """A step-time profile of that name does not exist."""

    kind = "profile"


class RequestTooLong(SimulatorError):
    """A request can never run: its prompt and output exceed what the endpoint holds.

    Attributes:
        tokens: Prompt and output tokens asked for.
        limit: Most the endpoint can hold for one request.
    """

    def __init__(self, tokens: int, limit: int) -> None:
        self.tokens = tokens
        self.limit = limit
        super().__init__(f"{tokens} tokens (prompt and output) exceed the limit of {limit}")


class DuplicateRequest(SimulatorError):
    """A request of that id is still alive in the engine."""


class RequestRefused(SimulatorError):
    """A request the HTTP face does not serve; vLLM's error body says why.

    Attributes:
        status: HTTP status.
        kind: vLLM's error type.
        param: The field at fault, ``None`` where there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        status: int = 400,
        kind: str = "BadRequestError",
    ) -> None:
        self.status = status
        self.kind = kind
        self.param = param
        super().__init__(message)


class ClientGone(SimulatorError):
    """The client went away before its request was read."""


class UnknownWorkload(UnknownName):
    """A workload of that name does not ship, and no such file exists."""

    kind = "workload"


class WorkloadInvalid(SimulatorError):
    """A workload or trace file cannot be used.

    Attributes:
        path: The file.
        line: Line at fault, from 1; ``None`` where it is the file as a whole.
        problem: What is wrong, with the limit it breaks.
    """

    def __init__(self, path: str, problem: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line
        self.problem = problem
        super().__init__(f"{path}{'' if line is None else f', line {line}'}: {problem}")


class WorkloadTooLong(SimulatorError):
    """A request of the workload can never run on the fleet.

    Attributes:
        source: The workload or trace file it comes from, or which request it is.
        line: Its line there, ``None`` where a generator draws it.
        tokens: Prompt and output together, for a generator the most it draws.
        limit: Most the fleet's smallest endpoint holds for one request.
    """

    def __init__(self, source: str, tokens: int, limit: int, *, line: int | None = None) -> None:
        self.source = source
        self.line = line
        self.tokens = tokens
        self.limit = limit
        super().__init__(
            f"{source}{'' if line is None else f', line {line}'}: {tokens} tokens (prompt and "
            f"output) exceed the fleet's limit of {limit}"
        )


class TooMuchTraffic(SimulatorError):
    """A rate asked for makes more traffic than is taken for real.

    Attributes:
        asked: How many requests or users it makes.
        limit: Most there can be.
    """

    def __init__(self, asked: float, limit: int, *, what: str) -> None:
        self.asked = asked
        self.limit = limit
        super().__init__(f"that rate makes {asked:,.0f} {what}; the limit is {limit:,}")


class UnknownFleet(UnknownName):
    """A fleet of that name does not ship, and no such file exists."""

    kind = "fleet"


class FleetInvalid(SimulatorError):
    """A fleet file cannot be used.

    Attributes:
        path: The file.
        problem: The key at fault and what is wrong with it.
    """

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")
