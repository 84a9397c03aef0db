"""Collection of stores with a voxel grid each, read like one store.

Layout::

    collection.json    members with the fingerprints of their stores; written last
    split.json         split of all trials
    grids/<name>/      a voxel store each, with its part of the split
    prepare.json       settings of preparation, for resuming

A member is a voxel store by itself, which all commands accept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._digests import read_sealed, write_sealed
from ..._environment import check_environment
from ..._io import new_output, sha256, write_json
from ..._lock import hold
from ..._progress import say
from ..._rules import exact_record_of, flag, table_of, text
from ...errors import StoreError, some
from ..readers.events import Trial
from ..readers.trial_windows import WindowSpec
from ..splits.split import Split
from .collection_plan import CollectionPlan
from .detrend import Units
from .manifest import COLLECTION, GRIDS
from .measured_exclusion import restricted_to
from .native_grids import restricted
from .prepare import write_store
from .resume import LOCK, claim
from .split_file import read_split
from .store import VoxelStore

COLLECTION_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_valid = exact_record_of(
    {
        "collection_version": lambda value: value == COLLECTION_VERSION,
        "fastbrain": text,
        "centred": flag,
        "members": table_of(text),
        "split": text,
    }
)
# what one model needs to be equal in all members
_SHARED = ("tr", "window", "units", "scale", "high_pass_s", "smoothing_mm", "kernel", "stride")


@dataclass(frozen=True, eq=False)
class StoreCollection:
    """Stores of one cohort with a voxel grid each, opened for reading. Use :meth:`open`.

    Parameters
    ----------
    path : Path
    stores : dict of str to VoxelStore
        By name of the grid; all with one repetition time, window, filter, patch size and units.
    split : Split
        Of the trials of all stores.
    centred : bool
        Whether positions of tokens are counted from the centre of each brain.
    """

    path: Path
    stores: dict[str, VoxelStore]
    split: Split
    centred: bool

    @classmethod
    @checked
    def open(cls, path: str | Path, *, verify: bool = False) -> StoreCollection:
        """Open a finished collection; voxels stay on disk.

        Parameters
        ----------
        path : str or Path
        verify : bool
            As for :meth:`VoxelStore.open`.

        Raises
        ------
        StoreError
            The collection is unfinished or damaged, a store was replaced, or stores differ in what
            one model needs to be equal.
        LeakError
            Parts of the split share trials, held-out values or volumes.
        """
        root = Path(os.path.abspath(path))
        info = _read(root)
        split = read_split(root / "split.json", function="StoreCollection.open")
        stores = {
            name: VoxelStore.open(root / GRIDS / name, verify=verify) for name in info["members"]
        }
        for name, store in stores.items():
            if store.fingerprint() != info["members"][name]:
                raise StoreError(
                    f"StoreCollection.open: {store.path} must be the store of the collection, got "
                    "another one. Prepare the collection again."
                )
        found = cls(root, stores, split, info["centred"])
        found._check()
        return found

    def _check(self) -> None:
        """Raise if the stores do not fit each other or the split."""
        first = next(iter(self.stores.values()))
        for store in self.stores.values():
            for name in _SHARED:
                wanted, got = getattr(first.info, name), getattr(store.info, name)
                if wanted != got:
                    raise StoreError(
                        f"StoreCollection.open: {store.path} must have the {name} of the others, "
                        f"{wanted}, got {got}. Prepare the collection again."
                    )
        if len(self.by_id) < len(self.trials):
            raise StoreError(
                f"StoreCollection.open: {self.path} must name each trial once, got names that two "
                "stores share. Prepare the collection again."
            )
        self.split.check(self.trials)
        for name, store in self.stores.items():
            tested = bool(store.split.test)
            part = restricted(self.split, store.trials, who=name, tested=tested)
            if part != store.split:
                raise StoreError(
                    f"StoreCollection.open: {store.path} must have its part of the split of the "
                    "collection, got another one. Prepare the collection again."
                )

    @cached_property
    def trials(self) -> list[Trial]:
        """Trials of all stores."""
        return [trial for store in self.stores.values() for trial in store.trials]

    @cached_property
    def by_id(self) -> dict[str, Trial]:
        """Trials by trial id."""
        return {trial.trial_id: trial for trial in self.trials}

    @cached_property
    def _grids(self) -> dict[str, str]:
        return {t.trial_id: name for name, store in self.stores.items() for t in store.trials}

    @property
    def _first(self) -> VoxelStore:
        return next(iter(self.stores.values()))

    @property
    def tr(self) -> float:
        """Seconds between volumes."""
        return self._first.tr

    @property
    def scale(self) -> float:
        """Units (percent or standard deviations) per stored step."""
        return self._first.scale

    @property
    def units(self) -> Units:
        """``"psc"``, percent signal change, or ``"zscore"``."""
        return self._first.units

    @property
    def window_spec(self) -> WindowSpec:
        """Position of windows relative to stimuli."""
        return self._first.window_spec

    def grid_of(self, trial_id: str) -> str:
        """Return the name of the grid of a trial.

        Raises
        ------
        StoreError
            There is no such trial.
        """
        if trial_id not in self._grids:
            raise StoreError(
                f"StoreCollection: trial_id must be a trial of {self.path}, got {trial_id!r}."
            )
        return self._grids[trial_id]

    def store_of(self, trial_id: str) -> VoxelStore:
        """Return the store of a trial; raises :class:`StoreError` if there is no such trial."""
        return self.stores[self.grid_of(trial_id)]

    def window(self, trial_id: str) -> npt.NDArray[np.int16]:
        """Return the window of a trial, (F, n_tokens, P) int16, on the grid of its store."""
        return self.store_of(trial_id).window(trial_id)

    def clip(self, trial_id: str) -> Path:
        """Return the file of the video shown in a trial; see :meth:`VoxelStore.clip`."""
        return self.store_of(trial_id).clip(trial_id)

    def fingerprint(self) -> str:
        """Return a short hash of everything that affects the values of windows."""
        parts = {name: store.fingerprint() for name, store in self.stores.items()}
        said = json.dumps([parts, self.split.to_json()], sort_keys=True)
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@checked
def write_collection(
    plan: CollectionPlan,
    out: str | Path,
    *,
    resume: bool = False,
    n_jobs: int = 1,
    dask: str | None = None,
) -> StoreCollection:
    """Write the stores of a plan and the collection that joins them.

    Parameters
    ----------
    plan : CollectionPlan
    out : str or Path
        New folder.
    resume : bool
        Whether to continue an interrupted preparation with the same settings and images.
    n_jobs, dask
        As in :func:`fastbrain.data.prepare_store`.

    Raises
    ------
    OutputExistsError, StoreError, DiskError
        As for :func:`fastbrain.data.prepare_store`.
    """
    written = sum(p.stat().st_size for p in Path(out).glob(f"{GRIDS}/*/runs/*.npy"))
    check_environment(out, needed_bytes=plan.nbytes - written, function="write_collection")
    root = new_output(out, resume=resume)
    with hold(root / LOCK, what="write_collection"):
        members = {name: member.settings() for name, member in plan.members.items()}
        claim(root, {"centred": plan.centred, "members": members}, resume=resume)
        for note in plan.joint_notes():
            say(f"note: {note}")
        stores = {}
        for name, member in plan.members.items():
            folder = root / GRIDS / name
            say(f"store of {name}")
            begun = folder.is_dir() and any(folder.iterdir())
            stores[name] = write_store(member, folder, resume=begun, n_jobs=n_jobs, dask=dask)
        trials = [trial for store in stores.values() for trial in store.trials]
        # runs that were left out by their quality take their trials with them
        all_there = len(trials) == len(plan.trials)
        split = plan.split if all_there else restricted_to(plan.split, trials)
        write_json(root / "split.json", split.to_json())
        info = {
            "collection_version": COLLECTION_VERSION,
            "fastbrain": __version__,
            "centred": plan.centred,
            "members": {name: store.fingerprint() for name, store in stores.items()},
            "split": sha256(root / "split.json"),
        }
        write_sealed(root / COLLECTION, info)
    return StoreCollection.open(root)


@checked
def open_store(path: str | Path, *, verify: bool = False) -> VoxelStore | StoreCollection:
    """Open a store, or a collection of stores; see :meth:`VoxelStore.open`."""
    if (Path(path) / COLLECTION).is_file():
        return StoreCollection.open(path, verify=verify)
    return VoxelStore.open(path, verify=verify)


def _read(root: Path) -> dict[str, Any]:
    path = root / COLLECTION
    if not path.is_file():
        raise StoreError(
            f"StoreCollection.open: {root} must hold {COLLECTION}, got none. Pass --resume to "
            "finish a preparation, or name a folder of fastbrain prepare --native-grids."
        )
    info = read_sealed(path, error=StoreError)
    if not _valid(info) or not info["members"] or not all(map(_NAME.fullmatch, info["members"])):
        raise StoreError(
            f"StoreCollection.open: {path} must list the stores of this version, got "
            f"{some(sorted(info))}. Prepare the collection again."
        )
    split = root / "split.json"
    if not split.is_file() or sha256(split) != info["split"]:
        raise StoreError(
            f"StoreCollection.open: {split} must match its sha256. The file is damaged or was "
            "edited: prepare the collection again."
        )
    return info
