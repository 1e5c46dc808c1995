"""Versioned model snapshots: bytes plus a manifest, on disk. Knows no model."""

from models_store.errors import (
    BrokenVersion,
    FleetNameInvalid,
    ModelsStoreError,
    NothingToRollBack,
    SchemaMismatch,
    StoreNotWritable,
    UnknownVersion,
)
from models_store.manifest import Manifest
from models_store.settings import StoreSettings
from models_store.store import ModelsStore, Problem

__all__ = [
    "BrokenVersion",
    "FleetNameInvalid",
    "Manifest",
    "ModelsStore",
    "ModelsStoreError",
    "NothingToRollBack",
    "Problem",
    "SchemaMismatch",
    "StoreNotWritable",
    "StoreSettings",
    "UnknownVersion",
]
