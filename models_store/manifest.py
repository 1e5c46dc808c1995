"""What is known of one version besides its bytes, and its form on disk (JSON)."""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

_VERSION: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z-[0-9a-f]{8}")
SHORT_HASH_DIGITS: Final = 8
MANIFEST_FILE: Final = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Describe one immutable version of one fleet's model.

    Attributes:
        version: Its name: creation time and a short hash; sorts by age.
        fleet: Base model it predicts for.
        created: ISO 8601, UTC.
        schema_hash: What its numbers mean, as its publisher names it.
        sha256: Of the model's bytes, hexadecimal.
        size_bytes: Of the model's bytes.
        model_format: Name of the encoding of the bytes, for whoever loads them.
        parent: Version in use when it was published, ``None`` for the first.
        rows: Observations it was trained on, ``None`` if not told.
        window_start_s: Epoch seconds of the oldest of them.
        window_end_s: Epoch seconds of the newest of them.
        metrics: Evaluation results by name; a name carries its unit.
    """

    version: str
    fleet: str
    created: str
    schema_hash: str
    sha256: str
    size_bytes: int
    model_format: str
    parent: str | None = None
    rows: int | None = None
    window_start_s: float | None = None
    window_end_s: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def encode(manifest: Manifest) -> bytes:
    """Write a manifest as indented JSON, for people to read on disk."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2)


def decode(data: bytes) -> Manifest:
    """Read a manifest back.

    Raises:
        ValueError: Not JSON, or a field is missing or of another type.
    """
    try:
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def version_name(now: float, sha256: str) -> str:
    """Name a version by its time (epoch seconds, to the microsecond) and content.

    >>> version_name(0.25, "0123456789abcdef")
    '19700101T000000.250000Z-01234567'
    """
    stamp = datetime.fromtimestamp(now, tz=UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    return f"{stamp}-{sha256[:SHORT_HASH_DIGITS]}"


def is_version_name(name: str) -> bool:
    """Tell names this store gives from anything else, such as paths out of the folder.

    >>> is_version_name("19700101T000000.250000Z-01234567"), is_version_name("../x")
    (True, False)
    """
    return _VERSION.fullmatch(name) is not None


def created_of(name: str) -> datetime:
    """Tell when a version was made, by its name.

    >>> created_of("19700101T000000.250000Z-01234567").isoformat()
    '1970-01-01T00:00:00.250000+00:00'
    """
    stamp = name.partition("-")[0].removesuffix("Z")
    return datetime.strptime(stamp, "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
