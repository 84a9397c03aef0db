"""The store of a run, wherever it is now; its fingerprint tells whether it is that one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import VoxelStore
from ..errors import CheckpointError, FastbrainError


def open_store(
    run: str | Path,
    manifest: Mapping[str, Any],
    store: str | Path | None = None,
    *,
    function: str,
) -> VoxelStore:
    """Open the store that a run was trained on.

    Parameters
    ----------
    run : str or Path
    manifest : mapping
        Of the run: `store` (absolute path at training), `store_beside` (the same relative to the
        run folder) and `store_fingerprint`.
    store : str or Path, optional
        Where the store is now. Default: where it was, then where it lies relative to the run.
    function : str
        Who asks, for messages.

    Returns
    -------
    VoxelStore

    Raises
    ------
    CheckpointError
        No store with the fingerprint of training is there.
    """
    wanted = manifest["store_fingerprint"]
    places = [Path(manifest["store"])]
    if manifest.get("store_beside") is not None:
        places.append(Path(run).resolve() / manifest["store_beside"])
    if store is not None:
        places = [Path(store)]
    told = []
    for place in dict.fromkeys(places):
        try:
            found = VoxelStore.open(place)
        except FastbrainError as error:
            told.append(f"{place} ({error})")
            continue
        if found.fingerprint() == wanted:
            return found
        told.append(f"{place} with {found.fingerprint()}")
    raise CheckpointError(
        f"{function}: the store must be the one of training, with fingerprint {wanted}, got "
        f"{'; '.join(told)}. Say where it is now: --store STORE (store= in Python)."
    )


def scored_trials(
    manifest: Mapping[str, Any], store: VoxelStore, *, function: str
) -> tuple[str, ...]:
    """Trials that a run may be scored on, all of the store's test part.

    Raises
    ------
    CheckpointError
        The manifest names others, or one twice.
    """
    ids = tuple(manifest["scored_trials"])
    others = sorted(set(ids) - set(store.split.test))
    if others or len(set(ids)) != len(ids):
        raise CheckpointError(
            f"{function}: scored_trials of the run's manifest.json must be different trials of the "
            f"test part, got {others[:3] or 'one twice'}. The file was edited."
        )
    return ids
