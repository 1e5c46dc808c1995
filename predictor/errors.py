"""What can go wrong in the predictor, one class per thing a caller does differently."""


class PredictorError(Exception):
    """Be the base of everything this folder raises."""


class InvalidSnapshot(PredictorError):
    """Refuse model bytes that are truncated, altered or not a snapshot at all.

    Attributes:
        detail: What is wrong with them.
    """

    def __init__(self, detail: str) -> None:
        super().__init__(f"not a usable model snapshot: {detail}")
        self.detail = detail


class SchemaMismatch(PredictorError):
    """Refuse a model of other features or other physics terms than the running code's.

    Attributes:
        found: Schema the snapshot carries.
        expected: ``snapshot.MODEL_SCHEMA``.
    """

    def __init__(self, *, found: str, expected: str) -> None:
        super().__init__(f"the snapshot has model schema {found}, the running code has {expected}")
        self.found = found
        self.expected = expected


class PredictionFailed(PredictorError):
    """Say that a library a model rests on could not predict."""


class TrainingRefused(PredictorError):
    """Say that no model can be made of these observations, and why.

    Attributes:
        reason: ``too_few_rows`` to train on, or ``too_few_new`` to judge the last model by.
        detail: The numbers behind it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
