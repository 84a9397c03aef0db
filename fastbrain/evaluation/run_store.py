"""Find the voxel store of a run, also after a move, and check its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._progress import say
from ..data import VoxelStore, window_faults
from ..data.store.manifest import GRIDS
from ..data.store.preparation import preparation_of
from ..errors import CheckpointError, FastbrainError, InputError


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
        With the training part that the run used, which may be a share of the store's.

    Raises
    ------
    CheckpointError
        No store with the fingerprint recorded at training was found, or the run is on several
        grids.
    """
    one_grid(run, manifest, function=function)
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
            return _with_training_part(found, manifest)
        tried.append(f"{place} with {found.fingerprint()}")
    raise CheckpointError(
        f"{function}: the store must be the one of training, with fingerprint {wanted}, got "
        f"{'; '.join(tried)}. Say where it is now: --store STORE (store= in Python)."
    )


def one_grid(run: str | Path, manifest: Mapping[str, Any], *, function: str) -> None:
    """Raise :class:`CheckpointError` for a run on several grids, and name those of one."""
    names = list(manifest.get("grids", ()))
    if names:
        places = ", ".join(str(Path(run) / GRIDS / name) for name in names[:3])
        raise CheckpointError(
            f"{function}: {run} must be of one grid, got a run on {len(names)}. Name that of a "
            f"person: {places}."
        )


def _with_training_part(store: VoxelStore, manifest: Mapping[str, Any]) -> VoxelStore:
    """Leave out the training trials that a run on a share of them did not use."""
    recorded = manifest.get("split")
    used = set(recorded["train"]) if recorded is not None else set()
    # an adapted run was fitted on runs of the test part: its baselines keep the whole part
    if not used < set(store.split.train):
        return store
    train = tuple(i for i in store.split.train if i in used)
    unused = store.split.unused + len(store.split.train) - len(train)
    return replace(store, split=replace(store.split, train=train, unused=unused))


def scored_windows(
    run: str | Path, manifest: Mapping[str, Any], store: VoxelStore, *, function: str
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Trials on which a run may be scored, without held windows.

    Parameters
    ----------
    run : str or Path
        Its preparation has the limits of training; without one, the store has them.
    manifest : mapping
    store : VoxelStore
    function : str
        Name of the calling function, for error messages.

    Returns
    -------
    scored : tuple of str
    held : dict
        Trial id to the reason, for each window that is far from all training windows. A decoder
        does not read them (:func:`fastbrain.data.window_faults`), so they have no score.

    Raises
    ------
    CheckpointError
        See :func:`scored_trials`.
    InputError
        All windows are held.
    """
    ids = scored_trials(manifest, store, function=function)
    held = window_faults(store, ids, preparation_of(run, store))
    if len(held) == len(ids):
        trial, reason = next(iter(held.items()))
        raise InputError(
            f"{function}: test windows must be like those of training, got none that is: {trial}: "
            f"{reason}. Was the test part preprocessed otherwise?"
        )
    if held:
        say(f"{len(held)} of {len(ids)} test windows are held: far from all training windows")
    return tuple(i for i in ids if i not in held), held


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
