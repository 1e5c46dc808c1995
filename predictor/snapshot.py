"""A trained model as plain bytes: JSON with a checksum, never pickle."""

import hashlib
from dataclasses import dataclass, field
from typing import Final

import msgspec

from predictor.errors import InvalidSnapshot, SchemaMismatch
from predictor.features import SCHEMA_HASH
from predictor.physics import PhysicsFit
from predictor.terms import TPOT_TERMS, TTFT_TERMS

FORMAT: Final = 1

MODEL_SCHEMA: Final = hashlib.sha256(
    "\n".join((SCHEMA_HASH, *TTFT_TERMS, "", *TPOT_TERMS)).encode()
).hexdigest()[:16]
"""What a model's numbers mean: the feature table its trees read, the terms of its physics.

Traces carry :data:`predictor.features.SCHEMA_HASH` alone: rows know no physics.
"""


class _Envelope(msgspec.Struct, frozen=True):
    format: int
    sha256: str
    model: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnapshot:
    """Hold one version of the trained models and what they were made from.

    Attributes:
        schema_hash: :data:`MODEL_SCHEMA` of the code that trained it.
        physics: The prior's coefficients the trees stand on.
        trees: LightGBM text by ``ttft_ratio``, ``ttft_direct``, ``tpot_ratio``,
            ``tpot_direct``; a target with too few labels has none.
        errors: Mean absolute log error of each, and of ``ttft_prior`` and ``tpot_prior``,
            on labels that came after what they were trained on.
        rows: Labels by target name.
        trained_from_s: When the first observation was complete.
        trained_until_s: When the last one was.
        parent: Version it was compared with.
    """

    schema_hash: str = MODEL_SCHEMA
    physics: PhysicsFit
    trees: dict[str, str]
    errors: dict[str, float] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    trained_from_s: float = 0.0
    trained_until_s: float = 0.0
    parent: str | None = None

    @property
    def version(self) -> str:
        """Name it by its content: twelve hexadecimal digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:12]

    def dump(self) -> bytes:
        """Write it as JSON; :meth:`load` of it gives an equal snapshot."""
        model = msgspec.json.encode(self)
        digest = hashlib.sha256(model).hexdigest()
        return msgspec.json.encode(
            _Envelope(format=FORMAT, sha256=digest, model=msgspec.Raw(model))
        )

    @classmethod
    def load(cls, data: bytes) -> "ModelSnapshot":
        """Read what :meth:`dump` wrote.

        Raises:
            InvalidSnapshot: Truncated, altered, of another format, or not a snapshot.
            SchemaMismatch: Trained by code with other features or other physics.

        >>> snapshot = ModelSnapshot(physics=PhysicsFit(), trees={})
        >>> ModelSnapshot.load(snapshot.dump()) == snapshot
        True
        """
        try:
            envelope = msgspec.json.decode(data, type=_Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidSnapshot(str(error)) from error
        if envelope.format != FORMAT:
            raise InvalidSnapshot(f"format {envelope.format}, this code reads {FORMAT}")
        model = bytes(envelope.model)
        if hashlib.sha256(model).hexdigest() != envelope.sha256:
            raise InvalidSnapshot("checksum differs from its content")
        try:
            snapshot = msgspec.json.decode(model, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise InvalidSnapshot(str(error)) from error
        if snapshot.schema_hash != MODEL_SCHEMA:
            raise SchemaMismatch(found=snapshot.schema_hash, expected=MODEL_SCHEMA)
        return snapshot
