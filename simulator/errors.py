"""What can go wrong in the simulator, one class per thing a caller does differently."""


class SimulatorError(Exception):
    """Anything the simulator refuses."""


class UnknownProfile(SimulatorError):
    """A step-time profile of that name does not exist.

    Attributes:
        name: What was asked for.
        known: Every name there is, sorted.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.known = known
        super().__init__(f"unknown profile {name!r}; known are: {', '.join(known)}")


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
