"""Find the voxel store of a run, also after a move, and check its fingerprint."""

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
    """Open the voxel store that a run was trained on.

    Parameters
    ----------
    run : str or Path
    manifest : mapping
        Manifest of the run, with `store` (absolute path at training), `store_beside` (the same
        path relative to the run folder) and `store_fingerprint`.
    store : str or Path, optional
        Current path of the store. Default: the path at training, then `store_beside`.
    function : str
        Name of the calling function, for error messages.

    Returns
    -------
    VoxelStore

    Raises
    ------
    CheckpointError
        No store with the fingerprint recorded at training was found.
    """
    wanted = manifest["store_fingerprint"]
    places = [Path(manifest["store"])]
    if manifest.get("store_beside") is not None:
        places.append(Path(run).resolve() / manifest["store_beside"])
    if store is not None:
        places = [Path(store)]
    tried = []
    for place in dict.fromkeys(places):
        try:
            found = VoxelStore.open(place)
        except FastbrainError as error:
            tried.append(f"{place} ({error})")
            continue
        if found.fingerprint() == wanted:
            return found
        tried.append(f"{place} with {found.fingerprint()}")
    raise CheckpointError(
        f"{function}: the store must be the one of training, with fingerprint {wanted}, got "
        f"{'; '.join(tried)}. Say where it is now: --store STORE (store= in Python)."
    )


def scored_trials(
    manifest: Mapping[str, Any], store: VoxelStore, *, function: str
) -> tuple[str, ...]:
    """Trials on which a run may be scored; all are in the store's test part.

    Raises
    ------
    CheckpointError
        The manifest lists a trial outside the test part, or one trial twice.
    """
    ids = tuple(manifest["scored_trials"])
    others = sorted(set(ids) - set(store.split.test))
    if others or len(set(ids)) != len(ids):
        raise CheckpointError(
            f"{function}: scored_trials of the run's manifest.json must be different trials of the "
            f"test part, got {others[:3] or 'one twice'}. The file was edited."
        )
    return ids
