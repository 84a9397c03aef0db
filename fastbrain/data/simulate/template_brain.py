"""Brain of the simulated cohorts: maps and noise inside the MNI152 template, and NIfTI files."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._io import write_atomic
from ...errors import MissingPartError

_Array = npt.NDArray[Any]
NOISE_PSC = 1.0  # std of the noise, percent signal change: a usual value at 3 T
_DRIFT_PSC = 1.0
_INT16_SLOPE, _INT16_INTER = 0.05, 800.0  # intensity = slope · stored + inter


@dataclass(frozen=True)
class TemplateBrain:
    """Grid, mask and intensity of the template.

    Parameters
    ----------
    mask : ndarray, (X, Y, Z) bool
        In the index order of NIfTI.
    grey : ndarray, (n_voxels,) float32
        Envelope of the maps, 0..1.
    baseline : ndarray, (n_voxels,) float32
        Intensity.
    affine : ndarray, (4, 4) float64
    fwhm_voxels : float
        Smoothness of the maps.
    """

    mask: npt.NDArray[np.bool_]
    grey: npt.NDArray[np.float32]
    baseline: npt.NDArray[np.float32]
    affine: npt.NDArray[np.float64]
    fwhm_voxels: float

    @classmethod
    def load(cls, *, resolution_mm: int, fwhm_mm: float, function: str) -> TemplateBrain:
        """Read the template; `function` is the calling function, for messages.

        Raises
        ------
        MissingPartError
            nilearn is not installed.
        """
        try:
            from nilearn import datasets
        except ImportError as error:
            raise MissingPartError(
                f"{function}: the MNI152 template comes with nilearn. "
                "pip install 'fastbrain-fmri[demo]'"
            ) from error
        mask, grey, baseline, affine = _template(datasets, resolution_mm)
        return cls(mask, grey, baseline, affine, fwhm_mm / resolution_mm)

    @property
    def n_voxels(self) -> int:
        """Number of voxels in the mask."""
        return int(self.mask.sum())

    def maps(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """Draw smooth unit-variance maps, (n, n_voxels)."""
        from scipy.ndimage import gaussian_filter

        sigma = self.fwhm_voxels / 2.3548
        maps = np.stack(
            [
                gaussian_filter(
                    rng.standard_normal(self.mask.shape, dtype=np.float32), sigma, truncate=3
                )[self.mask]
                for _ in range(n)
            ]
        )
        maps = (maps - maps.mean(1, keepdims=True)) * self.grey
        weight = np.sqrt((maps**2).sum(1, keepdims=True) / self.grey.sum())
        return np.asarray(maps / weight, dtype=np.float32)


# the template is resampled, which takes seconds
@cache
def _template(datasets: Any, resolution: int) -> tuple[_Array, _Array, _Array, _Array]:
    """Mask, grey matter, baseline and affine of a :class:`TemplateBrain`, read-only."""
    image = datasets.load_mni152_brain_mask(resolution=resolution)
    mask = np.asarray(image.dataobj) > 0
    grey = np.asarray(datasets.load_mni152_gm_template(resolution=resolution).dataobj)[mask]
    template = np.asarray(datasets.load_mni152_template(resolution=resolution).dataobj)[mask]
    baseline = 800 + 400 * template / template.max()
    found = (
        mask,
        np.clip(grey, 0, 1).astype(np.float32),
        baseline.astype(np.float32),
        np.asarray(image.affine, dtype=np.float64),
    )
    for array in found:
        array.setflags(write=False)
    return found


def noise_psc(
    n_voxels: int, volumes: int, ar1: float, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw AR(1) noise plus a slow drift, percent signal change, (volumes, n_voxels)."""
    noise = rng.standard_normal((volumes, n_voxels), dtype=np.float32)
    for i in range(1, volumes):
        noise[i] = ar1 * noise[i - 1] + np.sqrt(1 - ar1**2) * noise[i]
    t = np.linspace(0, 1, volumes, dtype=np.float32)[:, None]
    slope, bend = rng.standard_normal((2, 1, n_voxels), dtype=np.float32)
    return NOISE_PSC * noise + _DRIFT_PSC * (slope * (t - 0.5) + bend * np.cos(np.pi * t))


def write_bold(
    path: Path, psc: npt.NDArray[np.float32], brain: TemplateBrain, *, tr: float
) -> None:
    """Write a run from its percent signal change (volumes, n_voxels), as int16."""
    intensity = brain.baseline * (1 + psc / 100)
    # (T, Z, Y, X) is the order of the file; the transposed view has the index order of NIfTI
    stored = np.zeros((len(psc), *brain.mask.shape[::-1]), dtype=np.int16)
    stored.T[brain.mask] = np.round((intensity - _INT16_INTER) / _INT16_SLOPE).clip(-32768, 32767).T
    write_nifti(path, stored.T, brain.affine, tr=tr)


def write_intensity(
    path: Path,
    intensity: npt.NDArray[Any],
    mask: npt.NDArray[np.bool_],
    affine: npt.NDArray[np.float64],
    *,
    tr: float,
) -> None:
    """Write a run from intensities (volumes, n_voxels), as int16 with 0 outside of the mask."""
    stored = np.zeros((len(intensity), *mask.shape[::-1]), dtype=np.int16)
    stored.T[mask] = np.round(intensity / _INT16_SLOPE).clip(-32768, 32767).T
    write_nifti(path, stored.T, affine, tr=tr, inter=0.0)


def write_nifti(
    path: Path,
    data: npt.NDArray[Any],
    affine: npt.NDArray[np.float64],
    *,
    tr: float | None,
    inter: float = _INT16_INTER,
) -> None:
    """Write an image; with `tr` the array holds stored int16 values of a run.

    The intensity of such a value is ``0.05 * stored + inter``.
    """
    import nibabel as nib

    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(affine, code=4)
    image.set_sform(affine, code=4)
    if tr is not None:
        image.header["pixdim"][4] = tr
        image.header.set_slope_inter(_INT16_SLOPE, inter)
        # the array holds stored values already and must not be rescaled
        header = image.header.copy()
        header["vox_offset"] = 352
        raw = header.binaryblock + b"\0" * 4 + data.tobytes(order="F")
    else:
        raw = image.to_bytes()
    # noise has no repeats to search for; the time stamp in the header is 0
    packer = zlib.compressobj(1, wbits=31, strategy=zlib.Z_RLE)
    write_atomic(path, packer.compress(raw) + packer.flush())
