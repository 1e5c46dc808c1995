"""Snapshots: only whole, unaltered ones of this model schema are loaded."""

import dataclasses
import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictor import (
    MODEL_SCHEMA,
    InvalidSnapshot,
    ModelSnapshot,
    PredictorError,
    SchemaMismatch,
)
from predictor.coefficients import EndpointFit, TargetFit
from predictor.features import SCHEMA_HASH
from predictor.physics import PhysicsFit
from predictor.terms import TPOT_TERMS, TTFT_TERMS

SNAPSHOT = ModelSnapshot(
    physics=PhysicsFit(
        ttft=TargetFit(
            factor=(1.0, 0.5),
            classes={"": 0.1},
            endpoints={"a:1": EndpointFit(hardware=None, log_scale=-0.2, own=(0.01, 1e-5))},
        )
    ),
    trees={"ttft_ratio": "tree\n"},
    errors={"ttft_ratio": 0.1},
)
DATA = SNAPSHOT.dump()


def test_load_gives_what_was_dumped() -> None:
    assert ModelSnapshot.load(DATA) == SNAPSHOT


def test_version_changes_with_content() -> None:
    other = dataclasses.replace(SNAPSHOT, trees={"ttft_ratio": "tree \n"})

    assert other.version != SNAPSHOT.version


def test_another_schema_is_refused_by_name() -> None:
    other = dataclasses.replace(SNAPSHOT, schema_hash="0123456789abcdef").dump()

    with pytest.raises(SchemaMismatch, match="0123456789abcdef") as refused:
        ModelSnapshot.load(other)

    assert refused.value.found == "0123456789abcdef"


def test_other_physics_terms_make_another_schema() -> None:
    digest = hashlib.sha256("\n".join((SCHEMA_HASH, *TTFT_TERMS, "", *TPOT_TERMS[:-1])).encode())

    assert MODEL_SCHEMA not in {SCHEMA_HASH, digest.hexdigest()[:16]}
    with pytest.raises(SchemaMismatch, match=SCHEMA_HASH):
        ModelSnapshot.load(dataclasses.replace(SNAPSHOT, schema_hash=SCHEMA_HASH).dump())


def test_another_format_is_refused() -> None:
    envelope = msgspec.json.decode(DATA)

    with pytest.raises(InvalidSnapshot, match="format 2"):
        ModelSnapshot.load(msgspec.json.encode({**envelope, "format": 2}))


def test_altered_content_is_refused_by_its_checksum() -> None:
    with pytest.raises(InvalidSnapshot, match="checksum"):
        ModelSnapshot.load(DATA.replace(b'"ttft_ratio":0.1', b'"ttft_ratio":0.2'))


@given(st.integers(min_value=0, max_value=len(DATA) - 1))
def test_any_truncation_is_refused(length: int) -> None:
    with pytest.raises(InvalidSnapshot):
        ModelSnapshot.load(DATA[:length])


@given(st.binary(max_size=200))
def test_any_bytes_give_a_snapshot_or_our_error(data: bytes) -> None:
    with pytest.raises(PredictorError):
        ModelSnapshot.load(data)


@given(st.integers(min_value=0, max_value=len(DATA) - 1), st.integers(1, 255))
def test_any_flipped_byte_is_refused_or_harmless(position: int, flip: int) -> None:
    altered = bytearray(DATA)
    altered[position] ^= flip

    try:
        loaded = ModelSnapshot.load(bytes(altered))
    except PredictorError:
        return

    assert loaded == SNAPSHOT
