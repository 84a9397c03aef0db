"""Brain masks: read from a file, computed from a run, or intersected over runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ..._arrays import brain_of
from ...errors import CohortError, InputError, MissingPartError, VolumeError
from .findings import refuse
from .header_checks import check_storage
from .nifti import NiftiFile, open_nifti
from .orientation import affine_distance, image_affine
from .scaling import image_scaling, scale_labels
from .tables import given, number_of, read_tsv
from .volumes import Volumes

Mask = npt.NDArray[np.bool_]
_AFFINE_TOLERANCE_MM = 0.1
_MAX_BYTES = 4 << 30


@checked
def read_mask(
    path: str | Path, *, shape: tuple[int, int, int], affine: npt.NDArray[np.float64]
) -> Mask:
    """Read a 3-D mask that lies on the grid of a run.

    Parameters
    ----------
    path : str or Path
        3-D NIfTI image of whole numbers; voxels other than 0 are brain.
    shape : tuple of 3 int
        (Z, Y, X) of the run.
    affine : ndarray, (4, 4)
        Voxel (x, y, z) to world mm of the run.

    Returns
    -------
    ndarray, (Z, Y, X) bool

    Raises
    ------
    VolumeError
        The mask has another shape or affine, holds fractions or negative values, is empty, or
        cannot be read.
    """
    labels = read_labels(path, shape=shape, affine=affine, what="mask")
    mask = brain_of(labels, where=f"read_mask: {path}", error=VolumeError)
    if not mask.any():
        raise VolumeError(f"read_mask: {path} must hold at least one voxel, got none.")
    return mask


def read_labels(
    path: str | Path,
    *,
    shape: tuple[int, int, int],
    affine: npt.NDArray[np.float64],
    what: str = "labels",
) -> npt.NDArray[np.int64]:
    """Read a 3-D image of labels, for example an atlas, that lies on the grid of a run.

    Slope and intercept are applied. Axes of length 1 beyond the third are dropped.

    Parameters
    ----------
    path : str or Path
    shape : tuple of 3 int
        (Z, Y, X) of the run.
    affine : ndarray, (4, 4)
        Voxel (x, y, z) to world mm of the run.
    what : str
        Name of the kind of image, for messages.

    Returns
    -------
    ndarray, (Z, Y, X) int64

    Raises
    ------
    VolumeError
        The image has another shape or affine, holds values that are not whole numbers, or cannot
        be read.
    """
    if affine.shape != (4, 4):
        raise VolumeError(f"read_{what}: affine must be (4, 4), got {affine.shape}.")
    image, own = _open_volume(path)
    if image.dims[::-1] != shape:
        raise VolumeError(
            f"read_{what}: {path} must have the run's shape (Z, Y, X) {shape}, got "
            f"{image.dims[::-1]}. Resample it to the run's grid."
        )
    if not same_affine(own, affine, shape):
        raise VolumeError(
            f"read_{what}: {path} must have the run's affine within {_AFFINE_TOLERANCE_MM} mm "
            "over the volume, got another one. Resample it to the run's grid."
        )
    return _labels(image, what)


def open_labels(
    path: str | Path, *, what: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Read a 3-D image of labels on its own grid: (Z, Y, X) int64, and its affine (4, 4).

    Raises
    ------
    VolumeError
        The image holds values that are not whole numbers, or cannot be read.
    """
    image, affine = _open_volume(path)
    return _labels(image, what), affine


def _open_volume(path: str | Path) -> tuple[NiftiFile, npt.NDArray[np.float64]]:
    image = open_nifti(path, axes=3)
    refuse(image.path, check_storage(image, max_bytes=_MAX_BYTES))
    affine, _ = image_affine(image)
    return image, affine


def _labels(image: NiftiFile, what: str) -> npt.NDArray[np.int64]:
    slope, inter, _ = image_scaling(image)
    return scale_labels(image.read(), slope, inter, path=image.path, what=what)


@checked
def read_label_names(path: str | Path) -> dict[int, str]:
    """Read the names of the labels of an atlas.

    Parameters
    ----------
    path : str or Path
        Table with the columns ``index`` and ``name``, as ``*_dseg.tsv`` of BIDS.

    Returns
    -------
    dict of int to str
        In the order of the table; the background, 0, is left out.

    Raises
    ------
    CohortError
        A column is missing, an index is not a whole number or occurs twice, or no label is named.
    """
    columns, rows = read_tsv(Path(path))
    if not {"index", "name"} <= set(columns):
        raise CohortError(
            f"read_label_names: {path} must have the columns index and name, got "
            f"{', '.join(columns)}."
        )
    names: dict[int, str] = {}
    for row in rows:
        index = number_of(row["index"], where=f"{row.where} index", what="a whole number")
        name = given(row, "name")
        whole = index is not None and 0 <= index < 2**31 and index == int(index)
        if index is None or not whole or not name or int(index) in names:
            raise CohortError(
                f"read_label_names: {row.where} must name another whole number below 2^31, got "
                f"'{row['index']}' and '{name}'."
            )
        names[int(index)] = name
    names.pop(0, None)
    if not names:
        raise CohortError(f"read_label_names: {path} must name a label other than 0, got none.")
    return names


@checked
def compute_mask(volumes: Volumes) -> Mask:
    """Compute the brain mask of a run from its mean image.

    Uses the histogram method of nilearn's ``compute_epi_mask``.

    Returns
    -------
    ndarray, (Z, Y, X) bool

    Raises
    ------
    MissingPartError
        nilearn is not installed.
    VolumeError
        No brain was found.
    """
    try:
        from nilearn.masking import compute_epi_mask
    except ImportError as error:
        raise MissingPartError(
            "compute_mask: the mask is computed by nilearn. pip install 'fastbrain-fmri[demo]', or "
            "give a mask."
        ) from error
    import nibabel as nib

    raw = volumes.raw()
    # summed in float64 volume by volume, to avoid a copy of the run
    total = np.zeros(volumes.shape[1:], dtype=np.float64)
    for volume in raw:
        total += volume
    mean = np.nan_to_num(volumes.slope * (total / len(raw)) + volumes.inter)
    try:
        found = compute_epi_mask(nib.Nifti1Image(mean.T.astype(np.float32), volumes.affine))
    except ValueError as error:
        raise VolumeError(
            f"compute_mask: {volumes.path} must show a brain, got '{error}'. Give a mask."
        ) from error
    mask = np.ascontiguousarray(np.asarray(found.dataobj).T != 0)
    if not mask.any():
        raise VolumeError(f"compute_mask: {volumes.path} must show a brain, got none. Give a mask.")
    return mask


@checked
def intersect_masks(masks: Sequence[Mask]) -> Mask:
    """Intersect masks: return the voxels that are brain in every mask.

    Parameters
    ----------
    masks : sequence of ndarray, (Z, Y, X) bool

    Raises
    ------
    InputError
        There is no mask, or masks have different shapes.
    VolumeError
        The masks share no voxel.
    """
    if not masks or any(m.shape != masks[0].shape for m in masks):
        shapes = sorted({m.shape for m in masks})
        raise InputError(f"intersect_masks: masks must be of one shape, got {shapes}.")
    shared = np.logical_and.reduce(masks)
    if not shared.any():
        raise VolumeError(
            f"intersect_masks: {len(masks)} masks must share a voxel, got none in common. "
            "Are all runs in the same space?"
        )
    return np.asarray(shared)


def same_affine(
    one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], shape: tuple[int, int, int]
) -> bool:
    """Return whether two affines differ by at most 0.1 mm over all voxels of a (Z, Y, X) volume."""
    return affine_distance(one, other, shape[::-1]) <= _AFFINE_TOLERANCE_MM
