"""Versioned model snapshots: bytes plus a manifest, in a folder or a bucket. Knows no model."""

from models_store.errors import (
    BrokenVersion,
    FleetNameInvalid,
    ModelsStoreError,
    NothingToRollBack,
    SchemaMismatch,
    StoreNotWritable,
    StoreUnreachable,
    StoreUnusable,
    UnknownVersion,
)
from models_store.manifest import Manifest
from models_store.place import Place, is_url, path_of, shown
from models_store.settings import StoreSettings
from models_store.store import ModelsStore, Problem

__all__ = [
    "BrokenVersion",
    "FleetNameInvalid",
    "Manifest",
    "ModelsStore",
    "ModelsStoreError",
    "NothingToRollBack",
    "Place",
    "Problem",
    "SchemaMismatch",
    "StoreNotWritable",
    "StoreSettings",
    "StoreUnreachable",
    "StoreUnusable",
    "UnknownVersion",
    "is_url",
    "path_of",
    "shown",
]
