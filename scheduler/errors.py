"""What can go wrong when a request is to be placed."""


class SchedulerError(Exception):
    """Base of everything this folder raises."""


class ModelNotFound(SchedulerError):
    """No fleet serves the model that was asked for.

    Attributes:
        model: The name asked for.
        known: Names that are served, sorted.
    """

    def __init__(self, model: str, known: tuple[str, ...]) -> None:
        self.model = model
        self.known = known
        super().__init__(f"model {model!r} is not served here; known: {', '.join(known) or 'none'}")


class UnknownTier(SchedulerError):
    """The request names a tier that the configuration does not.

    Attributes:
        tier: The name asked for.
        known: Configured names, sorted.
    """

    def __init__(self, tier: str, known: tuple[str, ...]) -> None:
        self.tier = tier
        self.known = known
        super().__init__(f"unknown tier {tier!r}; known: {', '.join(known)}")


class UnknownRequest(SchedulerError):
    """An event names a request that is not in flight here.

    Attributes:
        request_id: The name given.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"request {request_id!r} is not in flight")


class DuplicateRequest(SchedulerError):
    """A request came in under an id that is still in flight.

    Attributes:
        request_id: The id both carry.
    """

    def __init__(self, request_id: str) -> None:
        self.request_id = request_id
        super().__init__(f"request id {request_id!r} is already in flight")


class MissingSignal(SchedulerError):
    """A policy needs what nothing produces as configured.

    Attributes:
        path: Where the settings name the policy.
        policy: Its name.
        missing: The signals, sorted.
    """

    def __init__(self, path: str, policy: str, missing: tuple[str, ...]) -> None:
        self.path = path
        self.policy = policy
        self.missing = missing
        super().__init__(
            f"{path}: {policy} needs {', '.join(missing)}, which nothing produces as configured"
        )
