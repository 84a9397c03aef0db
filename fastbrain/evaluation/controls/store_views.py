"""Views of a voxel store with changed data: noise, one region, or another delay.

A view is a store: loaders, decoders and scores accept it in place of the store, so a control runs
through the same code as the true brain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...data import VoxelStore
from ...errors import InputError

Change = Callable[[str, npt.NDArray[np.int16]], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False, kw_only=True)
class StoreView(VoxelStore):
    """A store that changes each run on reading; created by :func:`changed_store`.

    Parameters
    ----------
    name : str
        Name of the change; part of the fingerprint.
    change : callable
        Maps run id and stored run (T, n_tokens, P) int16 to a run of the same shape, in stored
        units; the result is rounded and clipped to int16.
    """

    name: str
    change: Change
    _latest: dict[str, npt.NDArray[np.int16]] = field(default_factory=dict, repr=False)

    def run(self, run_id: str) -> npt.NDArray[np.int16]:
        """Read all volumes of a run, changed, (T, n_tokens, P) int16; the latest run is cached."""
        if run_id not in self._latest:
            volumes = super().volumes(run_id)
            stored = volumes if isinstance(volumes, np.ndarray) else volumes[:]
            values = np.asarray(self.change(run_id, stored))
            if values.shape != stored.shape or not np.isfinite(values).all():
                raise InputError(
                    f"StoreView: {self.name} must give finite {stored.shape}, got {values.shape}."
                )
            limits = np.iinfo(np.int16)
            self._latest.clear()
            self._latest[run_id] = np.rint(values).clip(limits.min, limits.max).astype(np.int16)
        return self._latest[run_id]

    def volumes(self, run_id: str) -> npt.NDArray[np.int16]:
        """Read a run, as :meth:`run`."""
        return self.run(run_id)

    def fingerprint(self) -> str:
        """Short hash of the store fingerprint and the name of the change."""
        return hashlib.sha256(f"{super().fingerprint()} {self.name}".encode()).hexdigest()[:16]


@checked
def changed_store(store: VoxelStore, name: str, change: Change) -> StoreView:
    """Create a view of a store with changed runs; changes of a view are chained.

    Parameters
    ----------
    store : VoxelStore
    name : str
    change : callable
        See :class:`StoreView`.
    """
    parts = {f.name: getattr(store, f.name) for f in fields(VoxelStore)}
    if isinstance(store, StoreView):
        inner = store.change
        return StoreView(
            **parts,
            name=f"{store.name}, {name}",
            change=lambda run_id, run: change(run_id, np.asarray(inner(run_id, run))),
        )
    return StoreView(**parts, name=name, change=change)


@checked
def delayed_store(store: VoxelStore, delay_trs: int) -> VoxelStore:
    """Shift every window by some volumes; windows that would leave their run are dropped.

    Parameters
    ----------
    store : VoxelStore
    delay_trs : int
        Volumes added to each window's start; negative is earlier.
    """
    moved = [replace(trial, start=trial.start + delay_trs) for trial in store.trials]
    return replace(store, trials=[t for t in moved if _inside(store, t.run_id, t.start, t.frames)])


@checked
def common_trials(
    store: VoxelStore, trial_ids: Sequence[str], delays_trs: Iterable[int]
) -> tuple[str, ...]:
    """Select the trials with a window inside the run at every delay, in volumes.

    Raises
    ------
    InputError
        No trial qualifies, or a trial is unknown.
    """
    unknown = [t for t in trial_ids if t not in store.by_id]
    delays = tuple(delays_trs)
    trials = [store.by_id[t] for t in trial_ids if t in store.by_id]
    kept = tuple(
        t.trial_id
        for t in trials
        if all(_inside(store, t.run_id, t.start + d, t.frames) for d in delays)
    )
    if unknown or not kept:
        raise InputError(
            f"common_trials: trial_ids must stay inside their runs at delays {delays} (volumes), "
            f"got {len(kept)} that do and unknown {unknown[:3]}. Use shorter delays."
        )
    return kept


def _inside(store: VoxelStore, run_id: str, start: int, frames: int) -> bool:
    return 0 <= start and start + frames <= int(store.info.runs[run_id]["n_volumes"])
