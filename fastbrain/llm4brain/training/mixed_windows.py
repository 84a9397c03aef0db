"""Windows of several stores as those of one, for the pretraining of one encoder on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import Split, StoreCollection, VoxelStore
from ...data.store.preparation import check_like
from ...errors import ConfigError
from ...training.mixing import quotas

_REMEDY = "Prepare it on that grid: fastbrain prepare SOURCE STORE --no-events --grid-of STORE"


@dataclass(frozen=True, eq=False, kw_only=True)
class MixedStore(VoxelStore):
    """The first of several stores, with the windows of all; created by :func:`mixed_store`.

    A window of another store is given as the values that have the same z-scores in the first: it
    is standardised with the mean and deviation of its own store. Values are rounded to a stored
    step of the first store, as its own are.

    Parameters
    ----------
    stores : tuple of VoxelStore
    """

    stores: tuple[VoxelStore, ...]

    def window(self, trial_id: str) -> npt.NDArray[np.int16]:
        """Return the window of a trial, (F, n_tokens, P) int16, in steps of the first store."""
        number, _, name = trial_id.partition("/")
        own = self.stores[int(number)]
        if own is self.stores[0]:
            return own.window(name)
        return in_steps_of(self.stores[0], own, own.window(name))


@checked
def mixed_store(stores: Sequence[VoxelStore]) -> VoxelStore:
    """View several stores as one; trial ids get the number of their store, "1/TRIAL".

    Parameters
    ----------
    stores : sequence of VoxelStore
        With one grid, repetition time, window length, units and filter. A single store is returned
        as it is.

    Returns
    -------
    VoxelStore
        Grid and statistics are those of the first store, and its split joins the training and
        validation parts of all.

    Raises
    ------
    ConfigError
        No store, or one twice.
    StoreError
        A store differs from the first one in its form.
    """
    stores = tuple(stores)
    if not stores or len({store.fingerprint() for store in stores}) < len(stores):
        raise ConfigError(
            f"mixed_store: stores must be one or more different ones, got {len(stores)}"
            f"{', one of them twice' if stores else ''}."
        )
    first = stores[0]
    if len(stores) == 1:
        return first
    for store in stores[1:]:
        check_like(store, first, remedy=_REMEDY)

    def joined(part: str) -> tuple[str, ...]:
        return tuple(
            f"{i}/{name}" for i, store in enumerate(stores) for name in getattr(store.split, part)
        )

    given = {f.name: getattr(first, f.name) for f in fields(VoxelStore) if f.init}
    given["trials"] = [
        replace(trial, trial_id=f"{i}/{trial.trial_id}")
        for i, store in enumerate(stores)
        for trial in store.trials
    ]
    given["split"] = Split(joined("train"), joined("val"), (), guard_trs=0, keys=())
    return MixedStore(**given, stores=stores)


def in_steps_of(
    first: VoxelStore, own: VoxelStore, window: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    """Return the stored values that have in `first` the z-scores that `window` has in `own`.

    Voxels that are constant in either store get the mean of `first`: a z-score of zero.
    """
    z = (window * np.float32(own.scale) - own.mean) * own.inv_std
    alive = first.inv_std > 0
    std = np.divide(1, first.inv_std, out=np.zeros_like(first.inv_std), where=alive)
    values = np.rint((z * std + first.mean) / np.float32(first.scale))
    limits = np.iinfo(np.int16)
    return np.asarray(values.clip(limits.min, limits.max), dtype=np.int16)


def drawn(
    store: VoxelStore | StoreCollection,
    windows: int | None,
    *,
    seed: int,
    shares: Sequence[float] = (),
) -> tuple[str, ...]:
    """Draw training windows from the stores of a mixed one, or the grids of a collection.

    Parameters
    ----------
    store : VoxelStore or StoreCollection
    windows : int or None
        None: all.
    seed : int
    shares : sequence of float
        Share of each store or grid in the windows, up to a factor. Default: equal numbers.

    Raises
    ------
    ConfigError
        A store has fewer windows than its share, or there is not one share for each store.
    """
    ids = store.split.train
    if windows is None:
        return ids
    groups: dict[str, list[str]] = {}
    for name in ids:
        if isinstance(store, StoreCollection):
            source = store.grid_of(name)
        else:
            source = name.partition("/")[0] if isinstance(store, MixedStore) else ""
        groups.setdefault(source, []).append(name)
    weights = np.asarray(shares or (1.0,) * len(groups), dtype=float)
    if len(weights) != len(groups) or not (np.isfinite(weights) & (weights > 0)).all():
        raise ConfigError(
            f"train_scmbm: shares must be a positive number for each of {len(groups)} stores, got "
            f"{tuple(shares)}."
        )
    counts = quotas(windows, weights.tolist())
    rng = np.random.default_rng(seed)
    chosen: set[str] = set()
    for (number, names), share in zip(groups.items(), counts, strict=True):
        if not 1 <= share <= len(names):
            raise ConfigError(
                f"train_scmbm: windows must leave each store a share of 1..{len(names)}, got "
                f"{share}{f' of store {number}' if number else ''}. Give another number."
            )
        chosen |= {names[k] for k in rng.permutation(len(names))[:share]}
    return tuple(name for name in ids if name in chosen)
