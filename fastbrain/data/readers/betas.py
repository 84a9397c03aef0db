"""Single-trial response estimates (betas) of a GLM, read as volumes, one for each trial.

Files are 4-D NIfTI images, HDF5 files of the Natural Scenes Dataset, or plain arrays saved by NumPy
with the axes of GLMsingle, (X, Y, Z, trials). A table has one row for each trial.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import read_npy
from ...errors import CohortError, InputError, VolumeError
from .columns import suggestions, unused_columns
from .events import Trial, described
from .findings import refuse
from .hdf5 import SUFFIXES, Hdf5Array
from .header_checks import check_storage
from .nifti import open_nifti
from .orientation import image_affine
from .runs_table import RunRecord
from .scaling import image_scaling
from .tables import Row, given, number_of, read_tsv
from .trial_windows import Timing, WindowSpec
from .volumes import Volumes

BETA_TR_S = 1.0  # "seconds" from one beta to the next: betas have no time, and are counted
BETA_WINDOW = WindowSpec(0.0, 1)
_MAX_BYTES = 64 << 30
_PICKLED = (
    "A file of GLMsingle is a dictionary, which only pickle can open: save its array 'betasmd' "
    "alone with np.save."
)


@checked
def load_betas(
    path: str | Path,
    *,
    divisor: float = 1.0,
    grid_of: str | Path | None = None,
    dataset: str = "",
) -> Volumes:
    """Open betas; of a NIfTI image only the header is read.

    Parameters
    ----------
    path : str or Path
        4-D NIfTI image (``betas_session01.nii.gz`` of NSD), ``.hdf5`` (``betas_session01.hdf5``),
        or ``.npy`` of numbers, (X, Y, Z, T).
    divisor : float
        Stored units per percent signal change; 300 for the int16 files of NSD; their headers do not
        say it.
    grid_of : str or Path, optional
        NIfTI image on the grid of the betas, for ``.npy`` and ``.hdf5``, which state no position.
    dataset : str
        Array of an HDF5 file, (T, Z, Y, X) as h5py gives it: MATLAB, which wrote the files of NSD,
        counts its axes in the reverse order. Default: ``"betas"``. "" for other files.

    Returns
    -------
    Volumes
        One volume for each trial, with `tr` 1: betas are counted.

    Raises
    ------
    InputError
        The divisor is not positive.
    VolumeError
        The file is invalid, a ``.npy`` or ``.hdf5`` has no image beside it or another shape, or
        `dataset` is given for a file that is not HDF5.
    MissingPartError
        h5py is not installed, for an ``.hdf5``.
    """
    if not 0 < divisor < float("inf"):
        raise InputError(f"load_betas: divisor must be a positive number, got {divisor}.")
    path = Path(path)
    if path.suffix in SUFFIXES:
        return _load_dataset(path, divisor, grid_of, dataset or "betas")
    if dataset:
        raise VolumeError(
            f"load_betas: {path} must have no dataset, got {dataset!r}. It names an array of an "
            "HDF5 file (.h5, .hdf5)."
        )
    if path.suffix == ".npy":
        return _load_array(path, divisor, grid_of)
    image = open_nifti(path, axes=4)
    findings = check_storage(image, max_bytes=_MAX_BYTES)
    refuse(image.path, findings)
    affine, _ = image_affine(image)
    slope, inter, _ = image_scaling(image)
    x, y, z, t = image.dims
    return Volumes(
        path=path,
        shape=(t, z, y, x),
        affine=affine,
        tr=BETA_TR_S,
        slope=slope / divisor,
        inter=inter / divisor,
        dtype=image.known_dtype,
        notes=tuple(findings),
        _file=image,
    )


@dataclass(frozen=True, eq=False)
class _NumpyFile:
    """Array (X, Y, Z, T) in a ``.npy`` file, read as (T, Z, Y, X)."""

    path: Path

    def read(self) -> npt.NDArray[Any]:
        array = read_npy(self.path, where="load_betas", error=VolumeError, mmap=True)
        return np.ascontiguousarray(array.T)


def _load_array(path: Path, divisor: float, grid_of: str | Path | None) -> Volumes:
    try:
        array = read_npy(path, where="load_betas", error=VolumeError, mmap=True)
    except VolumeError as error:
        raise VolumeError(f"{error} {_PICKLED}") from error
    if array.ndim != 4 or array.dtype.kind not in "iuf" or not array.size:
        raise VolumeError(
            f"load_betas: {path} must be (X, Y, Z, trials) of numbers, got {array.shape} of "
            f"{array.dtype}. Save the betas in the shape of the image."
        )
    return _placed(path, array.shape[::-1], array.dtype, divisor, grid_of, _NumpyFile(path))


def _load_dataset(path: Path, divisor: float, grid_of: str | Path | None, name: str) -> Volumes:
    array = Hdf5Array.open(path, name, np.asarray)
    size = math.prod(array.shape) * array.dtype.itemsize
    if len(array.shape) != 4 or not 0 < size <= _MAX_BYTES:
        raise VolumeError(
            f"load_betas: {path} {name} must be (trials, Z, Y, X) of at most {_MAX_BYTES} bytes, "
            f"got {array.shape} of {array.dtype}. Save the betas in the shape of the image."
        )
    return _placed(path, array.shape, array.dtype, divisor, grid_of, array)


def _placed(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    divisor: float,
    grid_of: str | Path | None,
    file: _NumpyFile | Hdf5Array,
) -> Volumes:
    """Give betas (T, Z, Y, X) that state no position that of an image."""
    if grid_of is None:
        raise VolumeError(
            f"load_betas: {path} must have a mask image beside it, which states the position of "
            "its voxels, got none. Name it in the column mask of the runs table."
        )
    image = open_nifti(grid_of, axes=3)
    refuse(image.path, check_storage(image, max_bytes=_MAX_BYTES))
    affine, _ = image_affine(image)
    t, z, y, x = shape
    if (x, y, z) != image.dims:
        raise VolumeError(
            f"load_betas: {path} must have the shape (X, Y, Z) {image.dims} of {grid_of}, got "
            f"{(x, y, z)}. Name the mask of these betas."
        )
    return Volumes(
        path=path,
        shape=(t, z, y, x),
        affine=affine,
        tr=BETA_TR_S,
        slope=1.0 / divisor,
        inter=0.0,
        dtype=dtype,
        notes=(),
        _file=file,
    )


@checked
def read_beta_trials(
    run: RunRecord,
    n_betas: int,
    *,
    ignore: tuple[str, ...] = (),
    need_text: bool = True,
    unused: Counter[str] | None = None,
) -> list[Trial]:
    """Read the trials of the betas of a run.

    Columns: the text from ``text``, else ``trial_type``; optional ``beta``, the number of the
    volume from 1 on (default: the number of the row), and those of
    :func:`fastbrain.data.read_trials` but ``onset`` and ``duration``, which are not used.

    Parameters
    ----------
    run : RunRecord
    n_betas : int
    ignore : tuple of str
        Rows with one of these as trial type or text are left out.
    need_text : bool
        Whether a row without a text is an error; else its text is "", for decoding.
    unused : Counter of str, optional
        Counts the columns that are not used.

    Returns
    -------
    list of Trial
        With windows of one volume; the onset is the number of the beta from 0 on.

    Raises
    ------
    CohortError
        There is no table, a row has no text, or rows and betas do not correspond.
    """
    columns, rows = read_tsv(run.events_table())
    if need_text and not {"text", "trial_type"} & set(columns):
        raise CohortError(
            f"read_beta_trials: {run.events} must have the column text or trial_type, got "
            f"{', '.join(columns)}.{suggestions(columns)}"
        )
    if "beta" not in columns and len(rows) != n_betas:
        raise CohortError(
            f"read_beta_trials: {run.events} must have a row for each of the {n_betas} betas of "
            f"{run.bold}, got {len(rows)}. Add the column beta, the number of the volume from 1 on."
        )
    if unused is not None:
        unused.update(set(unused_columns(columns)) - {"beta"})
    used: dict[int, str] = {}
    trials = []
    for number, row in enumerate(rows, start=1):
        if {row.get("text"), row.get("trial_type")} & set(ignore):
            continue
        index = _index(row, number, n_betas) if "beta" in columns else number - 1
        if index in used:
            raise CohortError(
                f"read_beta_trials: {row.where} must have a beta of its own, got that of "
                f"{used[index]}. Correct the column beta."
            )
        used[index] = row.where
        timing = Timing(float(index), 0.0, index)
        trials.append(described(run, BETA_WINDOW, row, number, timing, BETA_TR_S, need_text))
    if not trials:
        raise CohortError(f"read_beta_trials: {run.events} must hold a trial, got none.")
    return trials


def _index(row: Row, number: int, n_betas: int) -> int:
    where = f"{row.where}, trial {number} beta"
    value = number_of(given(row, "beta"), where=where, what="a number of a volume")
    if value is None or value != int(value) or not 1 <= value <= n_betas:
        raise CohortError(
            f"read_beta_trials: {where} must be a whole number 1..{n_betas}, got "
            f"'{row['beta']}'. Volumes are counted from 1."
        )
    return int(value) - 1
