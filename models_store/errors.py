"""What can go wrong with stored versions, one class per thing a caller does about it."""


class ModelsStoreError(Exception):
    """Any failure of the store; catch this to go on without a stored model."""


class FleetNameInvalid(ModelsStoreError):
    """The fleet name cannot be a folder name.

    Attributes:
        fleet: The name as given.
    """

    def __init__(self, fleet: str) -> None:
        super().__init__(f"fleet name {fleet!r} is empty or too long to be a folder name")
        self.fleet = fleet


class UnknownVersion(ModelsStoreError):
    """There is no such version, or none in use when none was named.

    Attributes:
        fleet: Fleet asked for.
        version: Version asked for, ``None`` for the one in use.
    """

    def __init__(self, fleet: str, version: str | None) -> None:
        what = "no version in use" if version is None else f"no version {version!r}"
        super().__init__(f"fleet {fleet!r} has {what}")
        self.fleet = fleet
        self.version = version


class BrokenVersion(ModelsStoreError):
    """A stored file is not what was published; nothing of it may be used.

    Attributes:
        path: The file that is wrong, or its URL.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class StoreNotWritable(ModelsStoreError):
    """The disk or the bucket refused a change; what was in use before still is.

    Attributes:
        path: The fleet's folder, or what was to be written.
        reason: What the operating system said, or came of asking the network.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot change {path}: {reason}")
        self.path = path
        self.reason = reason


class StoreUnreachable(ModelsStoreError):
    """Nobody answered, or refused to; it may go better in a while.

    Attributes:
        path: What was asked for.
        reason: What came of it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"cannot read {path}: {reason}")
        self.path = path
        self.reason = reason


class StoreUnusable(ModelsStoreError):
    """No versions can be kept at such a place; it will not get better by itself.

    Attributes:
        place: As it was given, without keys.
        reason: Why not.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class SchemaMismatch(ModelsStoreError):
    """The version was made by code of another model schema than the caller's.

    Attributes:
        version: The version refused.
        stored: Schema in its manifest.
        wanted: Schema of the caller.
    """

    def __init__(self, *, version: str, stored: str, wanted: str) -> None:
        super().__init__(
            f"version {version} has model schema {stored}, the running code has {wanted}"
        )
        self.version = version
        self.stored = stored
        self.wanted = wanted


class NothingToRollBack(ModelsStoreError):
    """No version before the one in use is left.

    Attributes:
        fleet: Fleet asked for.
    """

    def __init__(self, fleet: str) -> None:
        super().__init__(f"fleet {fleet!r} has no earlier version to roll back to")
        self.fleet = fleet
