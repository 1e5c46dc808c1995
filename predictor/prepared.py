"""A snapshot with its trees parsed: the slow part of a swap, done off the event loop."""

from dataclasses import dataclass

from predictor.boosted import BoostedModels
from predictor.errors import InvalidSnapshot
from predictor.snapshot import ModelSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """Hold a snapshot and its models, ready to predict; no one else may use them."""

    snapshot: ModelSnapshot
    models: BoostedModels

    @classmethod
    def of(cls, snapshot: ModelSnapshot) -> "PreparedModel":
        """Parse a snapshot, in any thread.

        Raises:
            InvalidSnapshot: Its physics or its trees cannot be used.

        >>> from predictor.physics import PhysicsFit
        >>> bare = ModelSnapshot(physics=PhysicsFit(), trees={})
        >>> PreparedModel.of(bare).snapshot == bare
        True
        """
        try:
            return cls(snapshot=snapshot, models=BoostedModels(snapshot.physics, snapshot.trees))
        except ValueError as error:
            raise InvalidSnapshot(str(error)) from error
