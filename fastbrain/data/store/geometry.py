"""Refuse stores of surfaces and parcels where volumes are needed."""

from __future__ import annotations

from ...errors import StoreError
from .store import VoxelStore

NO_SURFACES = (
    "A scanner sends volumes: train on volumes for real time, or decode the finished recording "
    "(fastbrain decode)."
)


def need_volumes(store: VoxelStore, *, function: str, remedy: str) -> None:
    """Raise for a store of surfaces or parcels.

    Parameters
    ----------
    store : VoxelStore
    function : str
        Name of the calling function, for the message.
    remedy : str
        What to do instead, a sentence.

    Raises
    ------
    StoreError
    """
    if store.grid.geometry != "volume":
        raise StoreError(
            f"{function}: the store must be one of volumes, got {store.path} of "
            f"{store.grid.location_words}. {remedy}"
        )
