"""Check a cohort and plan its store before the first voxel is converted."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._arrays import brain_of
from ..._progress import track
from ...errors import CohortError, InputError, VolumeError, some
from ...grid import TokenGrid, Triple
from ..readers.events import Trial, WindowSpec, read_trials
from ..readers.masks import Mask, compute_mask, intersect_masks, read_mask, same_affine
from ..readers.runs_table import RunRecord, check_unique
from ..readers.volumes import Volumes, load_volumes
from ..splits.split import Split
from .choose_highpass import check_high_pass, choose_filter
from .detrend import STEP, Units, drift_basis
from .highpass import DriftFilter, HighPass
from .inputs import check_texts, check_trials
from .manifest import LAYOUT_VERSION

_TR_TOLERANCE_S = 1e-3


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
        warning = self.filter.warning()
        return [*notes, warning] if warning else notes

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
            "tokens": f"{grid.n_tokens} patches of {grid.kernel} voxels",
            "brain": f"{int(grid.mask.sum())} voxels",
            "store": f"{self.nbytes / 1e6:.1f} MB, int16, {self.units}",
        }

    def training_volumes(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return, by run, the volumes that training windows cover; statistics use only these."""
        covered: dict[str, set[int]] = {}
        chosen = set(self.split.train)
        for t in self.trials:
            if t.trial_id in chosen:
                covered.setdefault(t.run_id, set()).update(range(t.start, t.start + t.frames))
        return {
            run.run_id: np.array(sorted(covered[run.run_id]), dtype=np.int64)
            for run in self.runs
            if run.run_id in covered
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
            "grid": self.grid.fingerprint(),
            "affine": self.affine.tolist(),
            "trials_and_split": hashlib.sha256(people.encode()).hexdigest(),
            "runs": {
                run.run_id: {"source": run.bold.name, "n_volumes": volumes.shape[0]}
                for run, volumes in zip(self.runs, self.headers, strict=True)
            },
        }


@checked
def plan_store(
    runs: Sequence[RunRecord],
    *,
    window: WindowSpec,
    kernel: Triple,
    split: Split | Callable[[list[Trial]], Split],
    mask: str | Path | npt.NDArray[Any] | None = None,
    stride: Triple | None = None,
    units: Units = "psc",
    high_pass_s: HighPass = "auto",
    min_voxels: int = 1,
    ignore: tuple[str, ...] = (),
    late: Literal["error", "drop"] = "error",
    trials: Sequence[Trial] | None = None,
) -> StorePlan:
    """Check a whole cohort and plan its store; nothing is written.

    Parameters are those of :func:`fastbrain.data.prepare_store`, and `trials` for trials that do
    not come from the events files (:class:`fastbrain.data.Study`). Voxels are read only if a mask
    has to be computed.

    Raises
    ------
    FastbrainError
        As in :func:`fastbrain.data.prepare_store`; the message names the run.
    """
    if units not in STEP:
        raise InputError(f"plan_store: units must be one of {sorted(STEP)}, got {units!r}.")
    if not runs:
        raise InputError("plan_store: runs must hold at least one run, got none.")
    _check_names(runs)
    headers = tuple(load_volumes(run.bold, tr=run.tr) for run in runs)
    _check_same_grid(runs, headers)
    first = headers[0]
    for n in sorted({v.shape[0] for v in headers}):
        drift_basis(n, first.tr, check_high_pass(high_pass_s))
    lengths = {run.run_id: v.shape[0] for run, v in zip(runs, headers, strict=True)}
    dropped: list[str] = []
    if trials is None:
        known = [
            trial
            for run in runs
            for trial in read_trials(
                *(run, window),
                tr=first.tr,
                n_volumes=lengths[run.run_id],
                ignore=ignore,
                dropped=dropped if late == "drop" else None,
            )
        ]
    else:
        known = list(trials)
        check_trials(known, runs, lengths, tr=first.tr, window=window)
    parts = split if isinstance(split, Split) else split(known)
    if not isinstance(parts, Split):
        raise CohortError(
            f"plan_store: split must give a Split, got {type(parts).__name__}. Return that of "
            "split_by or another split function."
        )
    parts.check(known)
    check_texts(runs, known)
    chosen = set(parts.train)
    drift_filter = choose_filter(
        high_pass_s,
        [t for t in known if t.trial_id in chosen],
        lengths=lengths,
        tr=first.tr,
        window=window,
    )
    brain = _mask(runs, headers, mask)
    return StorePlan(
        runs=tuple(runs),
        headers=headers,
        trials=known,
        split=parts,
        grid=TokenGrid.from_mask(brain, kernel, stride, min_voxels=min_voxels),
        affine=first.affine,
        tr=first.tr,
        window=window,
        units=units,
        filter=drift_filter,
        dropped=tuple(dropped),
    )


def _check_names(runs: Sequence[RunRecord]) -> None:
    check_unique(Path("runs"), runs)
    for run in runs:
        # the run id is used as a file name
        if not re.fullmatch(r"[A-Za-z0-9_-]+", run.run_id):
            raise InputError(
                f"plan_store: run_id must be letters, digits, '-' and '_', got {run.run_id!r}."
            )


def _check_same_grid(runs: Sequence[RunRecord], headers: tuple[Volumes, ...]) -> None:
    first, space = headers[0], headers[0].shape[1:]
    for run, v in zip(runs, headers, strict=True):
        if v.shape[1:] != space:
            what = f"the shape (Z, Y, X) {space}, got {v.shape[1:]}"
        elif not same_affine(v.affine, first.affine, space):
            what = "the affine within 0.1 mm over the volume, got another one"
        elif abs(v.tr - first.tr) > _TR_TOLERANCE_S:
            what = f"the repetition time {first.tr:g} s, got {v.tr:g} s"
        elif run.n_volumes not in (None, v.shape[0]):
            raise CohortError(
                f"plan_store: {run.bold} must have {run.n_volumes} volumes, as VolumeTiming of its "
                f"sidecar or its runs table says, got {v.shape[0]}. Correct that."
            )
        else:
            continue
        raise CohortError(
            f"plan_store: {run.run_id} ({run.bold}) must share with {runs[0].run_id} {what}. "
            "Bring all runs into one space (fMRIPrep --output-spaces), or prepare them apart."
        )


def _mask(
    runs: Sequence[RunRecord],
    headers: tuple[Volumes, ...],
    given: str | Path | npt.NDArray[Any] | None,
) -> Mask:
    first = headers[0]
    space = first.shape[1:]
    if isinstance(given, str | Path):
        return read_mask(given, shape=space, affine=first.affine)
    if given is not None:
        if given.shape != space:
            raise InputError(f"plan_store: mask must be (Z, Y, X) {space}, got {given.shape}.")
        return brain_of(given, where="plan_store: mask", error=VolumeError)
    files = sorted({run.mask for run in runs if run.mask is not None})
    masks = [read_mask(path, shape=space, affine=first.affine) for path in files]
    unmasked = [run for run in runs if run.mask is None]
    if unmasked:
        # opened again, so that the memory of an unpacked run is freed before the next one
        masks += [
            compute_mask(load_volumes(run.bold, tr=run.tr))
            for run in track(unmasked, "computing masks")
        ]
    return intersect_masks(masks)
