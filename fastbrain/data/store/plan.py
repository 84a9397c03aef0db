"""Plan of a store: checked inputs and settings, before the first voxel is converted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ...errors import some
from ...grid import TokenGrid
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.trial_windows import WindowSpec
from ..readers.volumes import Volumes
from ..splits.split import Split, by_run
from .denoising.strategy import Denoising
from .denoising.table import RunNuisance
from .detrend import STEP, Units
from .highpass import DriftFilter
from .manifest import LAYOUT_VERSION
from .store import VoxelStore


@dataclass(frozen=True, eq=False)
class StorePlan:
    """Checked inputs and settings of a store that is to be prepared.

    Parameters
    ----------
    runs : tuple of RunRecord
    headers : tuple of Volumes
        Opened runs; their voxels are not read yet.
    trials : list of Trial
    split : Split
    grid : TokenGrid
    affine : ndarray, (4, 4) float64
    tr : float
        Seconds.
    window : WindowSpec
    units : str
    filter : DriftFilter
        The high-pass filter and what it removes of the training design.
    dropped : tuple of str
        Trials left out because their windows leave the run.
    reference : VoxelStore, optional
        Store that this one is prepared like: it gives the statistics, and nothing is fitted.
    resampled : bool
        Whether the runs are brought onto the grid, which is that of another store.
    denoising : Denoising, optional
        Confounds that are regressed out, and volumes that are censored.
    nuisance : mapping of str to RunNuisance
        Censored volumes and number of regressors by run; empty without `denoising`.
    censored_trials : tuple of str
        Trials left out because their windows hold censored volumes.
    excluded : mapping of str to str
        Runs left out of the store, with the reason of each.
    """

    runs: tuple[RunRecord, ...]
    headers: tuple[Volumes, ...]
    trials: list[Trial]
    split: Split
    grid: TokenGrid
    affine: npt.NDArray[np.float64]
    tr: float
    window: WindowSpec
    units: Units
    filter: DriftFilter
    dropped: tuple[str, ...] = ()
    reference: VoxelStore | None = None
    resampled: bool = False
    denoising: Denoising | None = None
    nuisance: Mapping[str, RunNuisance] = field(default_factory=dict)
    censored_trials: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)

    @property
    def high_pass_s(self) -> float | None:
        """Shortest period that is removed, seconds; None removes constant and line only."""
        return self.filter.high_pass_s

    @property
    def n_volumes(self) -> int:
        """Total number of volumes of all runs."""
        return sum(v.shape[0] for v in self.headers)

    @property
    def nbytes(self) -> int:
        """Size of the store's voxels on disk, bytes."""
        return self.n_volumes * self.grid.n_tokens * self.grid.patch_voxels * 2

    def notes(self) -> list[str]:
        """Collect notes on how headers were read, and a warning if the filter removes signal.

        Equal notes of several headers are merged, with the runs they concern.
        """
        runs: dict[str, list[str]] = {}
        for run, volumes in zip(self.runs, self.headers, strict=True):
            for note in volumes.notes:
                runs.setdefault(f"{note.field} {note.message}", []).append(run.run_id)
        notes = [
            f"{text} ({names[0]}" + (f" and {len(names) - 1} more runs)" if names[1:] else ")")
            for text, names in runs.items()
        ]
        if self.dropped:
            notes.append(
                f"{len(self.dropped)} of {len(self.trials) + len(self.dropped)} trials are left "
                f"out, as their windows leave the run: {some(self.dropped)}"
            )
        if self.censored_trials:
            notes.append(
                f"{len(self.censored_trials)} trials are left out, as their windows hold censored "
                f"volumes: {some(self.censored_trials)}"
            )
        notes += [f"run {name} is left out: {why}" for name, why in self.excluded.items()]
        return [*notes, *self.filter.warnings()]

    def summary(self) -> dict[str, str]:
        """Summarise the plan for display before anything is written, one line per entry."""
        split, grid = self.split, self.grid
        return {
            "runs": f"{len(self.runs)} of {len({r.subject for r in self.runs})} subjects",
            "volumes": f"{self.n_volumes} every {self.tr:g} s, (Z, Y, X) = {grid.shape}",
            "windows": f"{self.window.window_trs} volumes from {self.window.delay_s:g} s on",
            "trials": f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test, "
            f"{split.unused} unused (guard {split.guard_trs} volumes)",
            **self.filter.describe(),
            **self._denoised(),
            "tokens": f"{grid.n_tokens} patches of {grid.kernel} voxels",
            "brain": f"{int(grid.mask.sum())} voxels",
            "store": f"{self.nbytes / 1e6:.1f} MB, int16, {self.units}",
        }

    def _denoised(self) -> dict[str, str]:
        if self.denoising is None:
            return {"confounds": "none are regressed out"}
        found = self.denoising.describe()
        counts = sorted(n.regressors for n in self.nuisance.values())
        if self.denoising.regresses and counts:
            some_of = f"{counts[0]}" if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"
            found["confounds"] += f": {some_of} regressors a run"
        if self.denoising.censors:
            total = sum(int(n.censored.sum()) for n in self.nuisance.values())
            found["censored"] = f"{total} of {self.n_volumes} volumes: {found['censored']}"
        return found

    @cached_property
    def trials_by_run(self) -> dict[str, list[Trial]]:
        """Trials of each run."""
        return by_run(self.trials)

    def training_volumes(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return, by run, the volumes that training windows cover; statistics use only these.

        Censored volumes are left out.
        """
        covered: dict[str, set[int]] = {}
        chosen = set(self.split.train)
        for t in self.trials:
            if t.trial_id in chosen:
                covered.setdefault(t.run_id, set()).update(range(t.start, t.start + t.frames))
        for run_id in covered.keys() & self.nuisance.keys():
            covered[run_id].difference_update(np.flatnonzero(self.nuisance[run_id].censored))
        return {
            run.run_id: np.array(sorted(covered[run.run_id]), dtype=np.int64)
            for run in self.runs
            if covered.get(run.run_id)
        }

    def settings(self) -> dict[str, Any]:
        """Return the settings that must be equal to resume an interrupted preparation."""
        people = json.dumps([asdict(t) for t in self.trials] + [self.split.to_json()])
        return {
            "layout_version": LAYOUT_VERSION,
            "fastbrain": __version__,
            "tr": self.tr,
            "window": asdict(self.window),
            "units": self.units,
            "scale": STEP[self.units],
            "high_pass_s": self.high_pass_s,
            "denoising": None if self.denoising is None else self.denoising.to_json(),
            "excluded": dict(self.excluded),
            "grid": self.grid.fingerprint(),
            "like": "" if self.reference is None else self.reference.fingerprint(),
            "affine": self.affine.tolist(),
            "trials_and_split": hashlib.sha256(people.encode()).hexdigest(),
            "runs": {
                run.run_id: {"source": run.bold.name, "n_volumes": volumes.shape[0]}
                | ({"confounds": self.nuisance[run.run_id].digest} if self.nuisance else {})
                for run, volumes in zip(self.runs, self.headers, strict=True)
            },
        }
