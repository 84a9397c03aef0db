"""Append new runs to a store: convert them like its own, and merge both into a new store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..._arguments import checked
from ..._environment import check_environment
from ...errors import CohortError, InputError, OutputExistsError, some
from ..readers.runs_table import RunRecord
from ..splits.split import PARTS, Part, Split
from .merge import Fitting, join_stores
from .planning_like import plan_like
from .prepare import write_store
from .store import VoxelStore


@checked
def append_runs(
    store: VoxelStore,
    runs: Sequence[RunRecord],
    out: str | Path,
    *,
    part: Part,
    statistics: Literal["refit", "keep"],
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    n_jobs: int = 1,
    dask: str | None = None,
) -> VoxelStore:
    """Write a new store with the runs of a store and further runs, for example new subjects.

    The new runs get grid, filter, windows, units and stored integers of the store. The store itself
    is not changed; its run files are linked where the file system allows it. An interrupted call
    goes on with the same arguments.

    Parameters
    ----------
    store : VoxelStore
    runs : sequence of RunRecord
        Runs that are not in the store.
    out : str or Path
        New folder; it is complete or does not exist.
    part : {"train", "val", "test"}
        Part of the split that all new trials belong to.
    statistics : {"refit", "keep"}
        ``"refit"`` computes them from the training windows of all runs. ``"keep"`` keeps those of
        the store, for a model that was trained on it. New test trials change no statistics: both
        then give the bytes of a store prepared at once with this split and mask, and so does
        ``"refit"`` for new training trials.
    ignore, late
        As in :func:`fastbrain.data.plan_store`.
    n_jobs, dask
        As in :func:`fastbrain.data.prepare_store`.

    Returns
    -------
    VoxelStore

    Raises
    ------
    CohortError, VolumeError
        A new run is invalid or does not fit; a trial has no text.
    LeakError
        The parts of the split would share trials, held-out values or volumes.
    StoreError
        The records of the store are missing, or the training events would choose another filter.
    OutputExistsError
        `out` exists.
    """
    if part not in PARTS:
        raise InputError(f"append_runs: part must be one of {PARTS}, got {part!r}.")
    target = Path(out)
    if target.exists():
        raise OutputExistsError(f"append_runs: {target} must not exist. Choose another name.")
    plan = replace(plan_like(runs, store, ignore=ignore, late=late), dtype=store.info.dtype)
    known = sorted({run.run_id for run in runs} & set(store.info.runs))
    if known:
        raise CohortError(
            f"append_runs: runs must not be in {store.path} yet, got {some(known)}. Leave them out."
        )
    mute = [trial.trial_id for trial in plan.trials if not trial.text]
    if mute and any(trial.text for trial in store.trials):
        raise CohortError(
            f"append_runs: trials must have texts like those of {store.path}, got none for "
            f"{some(mute)}. Add a column 'text' to their events."
        )
    split = _extended(store.split, part, [trial.trial_id for trial in plan.trials])
    # before any voxel is converted
    split.check([*store.trials, *plan.trials])
    check_environment(target.parent, needed_bytes=plan.nbytes, function="append_runs")
    folder = target.with_name(f".{target.name}.append")
    added = write_store(plan, folder, resume=folder.exists(), n_jobs=n_jobs, dask=dask)
    fitting: Fitting = "refit" if statistics == "refit" else "first"
    made = join_stores([store, added], target, split, fitting, function="append_runs")
    shutil.rmtree(folder, ignore_errors=True)
    return made


def _extended(split: Split, part: Part, ids: Sequence[str]) -> Split:
    if part == "train":
        return replace(split, train=(*split.train, *ids))
    if part == "val":
        return replace(split, val=(*split.val, *ids))
    return replace(split, test=(*split.test, *ids))
