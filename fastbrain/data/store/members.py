"""One voxel store, or the stores of a collection, handled alike."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from .collection import StoreCollection
from .store import VoxelStore

AnyStore = VoxelStore | StoreCollection


def members_of(store: AnyStore) -> dict[str, VoxelStore]:
    """Return the stores of a collection by name, or a single store under the name ""."""
    return store.stores if isinstance(store, StoreCollection) else {"": store}


def with_cohort(store: AnyStore, cohort: str | Path) -> AnyStore:
    """Return a copy that looks for clips in another folder of its cohort."""
    place = os.path.abspath(cohort)
    if isinstance(store, VoxelStore):
        return replace(store, cohort=place)
    moved = {name: replace(each, cohort=place) for name, each in store.stores.items()}
    return replace(store, stores=moved)
