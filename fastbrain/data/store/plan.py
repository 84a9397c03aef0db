"""Plan of a store: checked inputs and settings, before the first voxel is converted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
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
from ..splits.split import Split
from .denoising.strategy import Denoising
from .denoising.table import RunNuisance
from .detrend import STEP, Units
from .exclusion import Exclusion
from .highpass import DriftFilter
from .image_space import ImageSpace, space_of
from .manifest import LAYOUT_VERSION
from .planning_layout import left_out
from .store import VoxelStore
from .stored_steps import StoredType


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
    resampled : str
        Name of the grid that the runs are interpolated to; "" if none is.
    beta_divisor : float or None
        For betas of single trials, stored units per percent; None for volumes of runs.
    origin_mm : tuple of 3 float
        World position (x, y, z) from which positions of tokens are counted, mm.
    smoothing_mm : float or None
        Full width at half maximum of the Gaussian that smooths every volume, mm.
    dtype : {"int16", "int8"}
        Stored integers.
    denoising : Denoising, optional
        Confounds that are regressed out, and volumes that are censored.
    nuisance : mapping of str to RunNuisance
        Censored volumes and number of regressors by run; empty without `denoising`.
    censored_trials : tuple of str
        Trials left out because their windows hold censored volumes.
    excluded : mapping of str to str
        Runs left out of the store, with the reason of each.
    exclude : Exclusion, optional
        Limits of quality that a run is compared with after it was cleaned.
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
    resampled: str = ""
    smoothing_mm: float | None = None
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    beta_divisor: float | None = None
    dtype: StoredType = "int16"
    denoising: Denoising | None = None
    nuisance: Mapping[str, RunNuisance] = field(default_factory=dict)
    censored_trials: tuple[str, ...] = ()
    excluded: Mapping[str, str] = field(default_factory=dict)
    exclude: Exclusion | None = None

    def stored_as(self, dtype: StoredType) -> StorePlan:
        """Return the plan with other stored integers."""
        return replace(self, dtype=dtype)

    @property
    def space(self) -> ImageSpace:
        """Space and resolution of the images."""
        return space_of(self.runs)

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
        size = np.dtype(self.dtype).itemsize
        return self.n_volumes * self.grid.n_tokens * self.grid.patch_voxels * size

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
        notes += [text for text in (left_out(self.headers, self.grid),) if text]
        notes += [f"run {name} is left out: {why}" for name, why in self.excluded.items()]
        return [*notes, *self.filter.warnings()]

    def summary(self) -> dict[str, str]:
        """Summarise the plan for display before anything is written, one line per entry."""
        split, grid = self.split, self.grid
        if self.beta_divisor is None:
            volumes = f"{self.n_volumes} every {self.tr:g} s"
            windows = f"{self.window.window_trs} volumes from {self.window.delay_s:g} s on"
        else:
            volumes = f"{self.n_volumes} betas, {self.beta_divisor:g} stored units per percent"
            windows = "the beta of each trial"
        return {
            "runs": f"{len(self.runs)} of {len({r.subject for r in self.runs})} subjects",
            "volumes": f"{volumes}, {_size(grid)}",
            **({"space": str(self.space)} if self.space.space else {}),
            "windows": windows,
            "trials": f"{len(split.train)} train, {len(split.val)} val, {len(split.test)} test, "
            f"{split.unused} unused (guard {split.guard_trs} volumes)",
            **self._prepared(),
            **(self.filter.describe() if self.beta_divisor is None else {}),
            **self.denoised(),
            "tokens": f"{grid.n_tokens} patches of {grid.patch_words}",
            "brain": f"{int(grid.mask.sum())} {grid.location_words}",
            "store": f"{self.nbytes / 1e6:.1f} MB, {self.dtype}, {self.units}",
        }

    def _prepared(self) -> dict[str, str]:
        """Summarise what is done to volumes before their voxels are cleaned."""
        found = {}
        if self.smoothing_mm is not None:
            found["smoothing"] = f"Gaussian of {self.smoothing_mm:g} mm FWHM"
        if self.resampled:
            found["resampled"] = f"to the grid of {self.resampled}, by linear interpolation"
        if self.exclude is not None and self.exclude.of_quality:
            found["left out"] = f"after cleaning, runs with {self.exclude.describe()}"
        return found

    def denoised(self) -> dict[str, str]:
        """Summarise which confounds are removed and which volumes censored."""
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

    def training_volumes(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return, by run, the volumes that training windows cover; statistics use only these.

        Censored volumes are left out.
        """
        censored = {name: np.flatnonzero(n.censored) for name, n in self.nuisance.items()}
        names = [run.run_id for run in self.runs]
        return training_volumes(names, self.trials, self.split, censored)

    def training_windows(self) -> list[Trial]:
        """Return the training trials, in the order of the trials."""
        chosen = set(self.split.train)
        return [t for t in self.trials if t.trial_id in chosen]

    def settings(self) -> dict[str, Any]:
        """Return the settings that must be equal to resume an interrupted preparation."""
        return {
            "layout_version": LAYOUT_VERSION,
            "fastbrain": __version__,
            "tr": self.tr,
            "window": asdict(self.window),
            "units": self.units,
            "dtype": self.dtype,
            "scale": STEP[self.units],
            "high_pass_s": self.high_pass_s,
            "smoothing_mm": self.smoothing_mm,
            "resampled": self.resampled,
            **asdict(self.space),
            "origin_mm": list(self.origin_mm),
            "beta_divisor": self.beta_divisor,
            "denoising": None if self.denoising is None else self.denoising.to_json(),
            "excluded": dict(self.excluded),
            "quality_limits": {} if self.exclude is None else self.exclude.of_quality,
            "grid": self.grid.fingerprint(),
            "like": "" if self.reference is None else self.reference.fingerprint(),
            "affine": self.affine.tolist(),
            "trials_and_split": trials_digest(self.trials, self.split),
            "runs": {
                run.run_id: {"source": run.source, "n_volumes": volumes.shape[0]}
                | ({"confounds": self.nuisance[run.run_id].digest} if self.nuisance else {})
                for run, volumes in zip(self.runs, self.headers, strict=True)
            },
        }


def training_volumes(
    runs: Sequence[str],
    trials: Sequence[Trial],
    split: Split,
    censored: Mapping[str, Iterable[int]],
) -> dict[str, npt.NDArray[np.int64]]:
    """Return, by run in the given order, the volumes that training windows cover.

    Volumes that are censored in a run are left out.
    """
    covered: dict[str, set[int]] = {}
    chosen = set(split.train)
    for t in trials:
        if t.trial_id in chosen:
            covered.setdefault(t.run_id, set()).update(range(t.start, t.start + t.frames))
    for run_id in covered.keys() & censored.keys():
        covered[run_id].difference_update(censored[run_id])
    return {r: np.array(sorted(covered[r]), dtype=np.int64) for r in runs if covered.get(r)}


def trials_digest(trials: Sequence[Trial], split: Split) -> str:
    """Return the sha256 of trials and split, for the settings of a store."""
    text = json.dumps([asdict(t) for t in trials] + [split.to_json()])
    return hashlib.sha256(text.encode()).hexdigest()


def _size(grid: TokenGrid) -> str:
    if grid.geometry == "volume":
        return f"(Z, Y, X) = {grid.shape}"
    return f"{grid.mask.size} {grid.location_words}"
