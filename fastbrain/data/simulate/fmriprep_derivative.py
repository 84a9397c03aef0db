"""Write a simulated cohort a second time, as the derivatives that fMRIPrep makes of one.

Images lie in a standard space and carry an artefact of head motion; each has a mask, a sidecar and
a table of confounds. The last people are on other voxel grids, which are on the same places
of the brain: one grid is larger by some voxels, the other has other voxel sizes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import __version__
from ..._arguments import checked
from ..._io import folder_atomic, write_json
from ..._progress import track
from ...errors import InputError
from ..readers.bids import runs_from_bids
from ..readers.entities import entities
from ..readers.runs_table import RunRecord
from .head_motion import HeadMotion, write_confounds
from .template_brain import write_intensity, write_nifti

_PAD = (2, 1, 3)  # voxels added before and behind, x y z
_COARSER = 1.25  # voxel size of the coarser grid, in voxels of the first
_DEEP_SHARE = 0.1  # share of the brain, farthest from its surface, that gives noise components


@dataclass(frozen=True)
class _Grid:
    """Voxel grid of one person: `scale` voxels of the raw image a voxel, from voxel `origin` on."""

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    scale: float = 1.0
    origin: tuple[int, int, int] = (0, 0, 0)

    def larger(self) -> _Grid:
        shape = tuple(n + 2 * pad for n, pad in zip(self.shape, _PAD, strict=True))
        origin = tuple(-pad for pad in _PAD)
        return self._moved(shape, 1.0, origin)

    def coarser(self) -> _Grid:
        shape = tuple(int((n - 1) / _COARSER) + 1 for n in self.shape)
        return self._moved(shape, _COARSER, (0, 0, 0))

    def _moved(self, shape: tuple[int, ...], scale: float, origin: tuple[int, ...]) -> _Grid:
        step = np.diag([scale, scale, scale, 1.0])
        step[:3, 3] = origin
        return _Grid(shape, self.affine @ step, scale, origin)  # type: ignore[arg-type]

    def of(self, volume: npt.NDArray[np.float32], *, nearest: bool = False) -> npt.NDArray:
        """Interpolate a volume of the raw grid (X, Y, Z) linearly, with 0 outside."""
        from scipy.ndimage import affine_transform

        return affine_transform(
            volume,
            np.full(3, self.scale),
            offset=np.array(self.origin, dtype=float),
            output_shape=self.shape,
            order=0 if nearest else 1,
            mode="constant",
        )


@checked
def write_fmriprep_derivative(
    raw: str | Path,
    out: str | Path | None = None,
    *,
    space: str = "MNI152NLin2009cAsym",
    res: str | None = None,
    other_grids: int = 2,
    slice_time_reference: float = 0.5,
    motion_psc: float = 0.5,
    short_runs: bool = False,
    seed: int = 0,
) -> Path:
    """Write a simulated cohort as an fMRIPrep derivative.

    Parameters
    ----------
    raw : str or Path
        Folder of :func:`simulate_cohort` or :func:`simulate_stories`; it is not changed.
    out : str or Path, optional
        New folder, default ``raw/derivatives/fmriprep``.
    space, res : str
        Entities of the images.
    other_grids : int
        Number of people, from the last on, who are on other voxel grids: the last but one on a
        larger grid, the last on a coarser one. 0, 1 or 2.
    slice_time_reference : float
        Time of a volume as a share of the repetition time, 0..1: volumes are interpolated to it,
        and ``StartTime`` states it.
    motion_psc : float
        Standard deviation of the motion artefact, percent signal change.
    short_runs : bool
        Whether ``run-01`` becomes ``run-1``, as in the derivatives of HAD.
    seed : int

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    OutputExistsError
        `out` exists.
    CohortError
        `raw` has no images.
    InputError
        A number is out of its range, or `raw` has no mask or no repetition time.
    """
    if other_grids not in (0, 1, 2):
        raise InputError(
            f"write_fmriprep_derivative: other_grids must be 0, 1 or 2, got {other_grids}."
        )
    if not 0 <= slice_time_reference <= 1 or not 0 <= motion_psc < 100:
        raise InputError(
            "write_fmriprep_derivative: slice_time_reference must be 0..1 and motion_psc 0..100, "
            f"got {slice_time_reference:g} and {motion_psc:g}."
        )
    raw = Path(raw)
    runs = runs_from_bids(raw, need_events=False)
    if any(run.mask is None or run.tr is None for run in runs):
        raise InputError(
            f"write_fmriprep_derivative: raw must be a simulated cohort with mask.nii.gz and a "
            f"repetition time, got {raw}. Make one with simulate_cohort."
        )
    folder = raw / "derivatives" / "fmriprep" if out is None else Path(out)
    people = sorted({run.subject for run in runs})
    rng = np.random.default_rng(seed)
    with folder_atomic(folder, function="write_fmriprep_derivative") as root:
        _describe(root)
        for run in track(runs, "simulating derivatives"):
            from_last = len(people) - 1 - people.index(run.subject)
            kind = ("coarser", "larger")[from_last] if from_last < other_grids else ""
            _write_run(
                *(root, raw, run, kind, rng),
                suffix=f"_space-{space}" + (f"_res-{res}" if res else ""),
                reference=slice_time_reference,
                motion_psc=motion_psc,
                short_runs=short_runs,
            )
    return folder


def _write_run(
    root: Path,
    raw: Path,
    run: RunRecord,
    kind: str,
    rng: np.random.Generator,
    *,
    suffix: str,
    reference: float,
    motion_psc: float,
    short_runs: bool,
) -> None:
    import nibabel as nib

    assert run.mask is not None
    assert run.tr is not None
    image: Any = nib.load(run.bold)
    brain_mask: Any = nib.load(run.mask)
    mask = np.asarray(brain_mask.dataobj) > 0
    grid = _Grid(mask.shape, np.asarray(image.affine))
    grid = grid.coarser() if kind == "coarser" else grid.larger() if kind == "larger" else grid
    series = np.asarray(image.dataobj, dtype=np.float32)[mask].T.astype(np.float64)
    following = np.concatenate([series[1:], series[-1:]])
    series = (1 - reference) * series + reference * following
    motion = HeadMotion.draw(len(series), rng)
    series *= 1 + motion.artefact(series.shape[1], motion_psc, rng) / 100
    own = grid.of(mask.astype(np.float32), nearest=True) > 0
    moved = _moved(series, mask, own, grid)
    stem = _stem(raw, run, short_runs)
    bold = root / f"{stem}{suffix}_desc-preproc_bold.nii.gz"
    write_intensity(bold, moved, own, grid.affine, tr=run.tr)
    write_json(
        bold.with_name(bold.name.replace(".nii.gz", ".json")),
        {
            "RepetitionTime": run.tr,
            "SkullStripped": False,
            "SliceTimingCorrected": reference > 0,
            "StartTime": round(reference * run.tr, 6),
            "TaskName": entities(run.bold).get("task", ""),
        },
    )
    brain = root / f"{stem}{suffix}_desc-brain_mask.nii.gz"
    write_nifti(brain, own.astype(np.uint8), grid.affine, tr=None)
    write_json(
        brain.with_name(brain.name.replace(".nii.gz", ".json")),
        {"RawSources": [str(run.bold.relative_to(raw))], "Type": "Brain"},
    )
    table = root / f"{stem}_desc-confounds_timeseries.tsv"
    write_confounds(table, motion, moved, _deep(own), tr=run.tr)


def _moved(
    series: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    own: npt.NDArray[np.bool_],
    grid: _Grid,
) -> npt.NDArray[np.float64]:
    """Interpolate a series (T, n_voxels) to the voxels of the mask `own`, (T, n_own)."""
    if grid.scale == 1.0:  # the same voxels in the same order
        return series
    # outside of the brain the mean intensity, so that voxels at its edge are not darkened
    volume = np.full(mask.shape, series.mean(), dtype=np.float32)
    moved = np.empty((len(series), int(own.sum())))
    for k, values in enumerate(series):
        volume[mask] = values
        moved[k] = grid.of(volume)[own]
    return moved


def _deep(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(mask)[mask]
    return np.asarray(depth >= np.quantile(depth, 1 - _DEEP_SHARE))


def _stem(raw: Path, run: RunRecord, short_runs: bool) -> str:
    stem = str(run.bold.relative_to(raw)).removesuffix(".gz").removesuffix("_bold.nii")
    label = entities(run.bold).get("run", "")
    if short_runs and label:
        stem = stem.replace(f"_run-{label}", f"_run-{int(label)}")
    return stem


def _describe(root: Path) -> None:
    write_json(
        root / "dataset_description.json",
        {
            "Name": "fastbrain simulated cohort, in the layout of fMRIPrep derivatives",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "CC0",
            "GeneratedBy": [
                {"Name": "fastbrain write_fmriprep_derivative", "Version": __version__}
            ],
        },
    )
