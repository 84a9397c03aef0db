"""BOLD images: checked when opened, read on demand, indexed [T, Z, Y, X].

NIfTI stores x fastest, so [T, Z, Y, X] is its memory order and needs no copy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from .findings import Finding, refuse
from .header_checks import check_storage, repetition_time
from .nifti import NiftiFile, open_nifti
from .orientation import image_affine
from .scaling import image_scaling, scale_values


class _Voxels(Protocol):
    def read(self) -> npt.NDArray[Any]:
        """Read all stored values, (T, Z, Y, X)."""


@dataclass(frozen=True, eq=False)
class Volumes:
    """One run of BOLD volumes.

    Parameters
    ----------
    path : Path
    shape : tuple of 4 int
        (T, Z, Y, X).
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm.
    tr : float
        Time between volumes, seconds.
    slope, inter : float
        Intensity = slope · stored + inter.
    dtype : dtype
        Stored data type.
    notes : tuple of Finding
        Notes on how the header was interpreted (time unit, scaling, orientation).
    """

    path: Path
    shape: tuple[int, int, int, int]
    affine: npt.NDArray[np.float64]
    tr: float
    slope: float
    inter: float
    dtype: np.dtype[Any]
    notes: tuple[Finding, ...]
    _file: _Voxels

    @cached_property
    def _stored(self) -> npt.NDArray[Any]:
        # compressed files are unpacked once and kept in memory as long as this object exists
        return self._file.read()

    def raw(self, t0: int = 0, t1: int | None = None) -> npt.NDArray[Any]:
        """Read the stored values of the volumes t0..t1.

        Parameters
        ----------
        t0, t1 : int
            First volume and one past the last (default: all).

        Returns
        -------
        ndarray, (t1 - t0, Z, Y, X), stored dtype
            Read-only; a memory map if the file is not compressed. Values in foreign byte order are
            copied.

        Raises
        ------
        InputError
            The interval leaves the run.
        VolumeError
            The file is truncated or damaged.
        """
        end = self.shape[0] if t1 is None else t1
        if not 0 <= t0 <= end <= self.shape[0]:
            raise InputError(
                f"Volumes.raw: t0, t1 must lie in 0..{self.shape[0]} in order, got {t0}, {end}."
            )
        part = self._stored[t0:end]
        return part.astype(part.dtype.newbyteorder("="), copy=False)

    def series(self, voxels: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Read the stored values of some voxels in all volumes.

        The volumes are read one after the other, so that memory holds those values only, unless the
        whole run was read before.

        Parameters
        ----------
        voxels : ndarray, (V,) int64
            Flat (Z, Y, X) indices, ascending.

        Returns
        -------
        ndarray, (T, V), stored dtype in native byte order

        Raises
        ------
        VolumeError
            The file is truncated or damaged.
        """
        inside = np.zeros(math.prod(self.shape[1:]), dtype=bool)
        inside[voxels] = True
        out = np.empty((self.shape[0], voxels.size), dtype=self.dtype.newbyteorder("="))
        for row, volume in zip(out, self._one_by_one(), strict=True):
            row[:] = volume.reshape(-1)[inside]
        return out

    def scaled_one_by_one(self) -> Iterator[npt.NDArray[np.float32]]:
        """Read the volumes one after the other as intensities, (Z, Y, X) float32; see `series`."""
        for volume in self._one_by_one():
            yield scale_values(volume, self.slope, self.inter, np.float32)

    def _one_by_one(self) -> Iterator[npt.NDArray[Any]]:
        if isinstance(self._file, NiftiFile) and "_stored" not in self.__dict__:
            return self._file.volumes()
        return iter(self._stored)

    def scaled(self, t0: int = 0, t1: int | None = None) -> npt.NDArray[np.float32]:
        """Compute intensities slope · stored + inter, (t1 - t0, Z, Y, X) float32."""
        return scale_values(self.raw(t0, t1), self.slope, self.inter, np.float32)


@checked
def load_volumes(
    path: str | Path, *, tr: float | None = None, max_bytes: int = 16 << 30
) -> Volumes:
    """Open a 4-D NIfTI image; only the header is read.

    Axes of length 1 beyond the third are dropped: (X, Y, Z, 1, T) is a run of T volumes.

    Parameters
    ----------
    path : str or Path
        ``.nii``, ``.nii.gz``, or either file of an ``.hdr``/``.img`` pair.
    tr : float, optional
        Repetition time in seconds, for headers without one. It must agree with a header that
        states a plausible time and its unit.
    max_bytes : int
        Limit on the size of the voxels implied by the header, checked before any allocation.

    Returns
    -------
    Volumes

    Raises
    ------
    VolumeError
        The file is invalid; the message names file, field and value.
    """
    image = open_nifti(path, axes=4)
    findings = check_storage(image, max_bytes=max_bytes)
    seconds, timing = repetition_time(image, tr)
    findings += timing
    refuse(image.path, findings)
    affine, _ = image_affine(image)
    slope, inter, _ = image_scaling(image)
    x, y, z, t = image.dims
    return Volumes(
        path=Path(path),
        shape=(t, z, y, x),
        affine=affine,
        tr=seconds,
        slope=slope,
        inter=inter,
        dtype=image.known_dtype,
        notes=tuple(findings),
        _file=image,
    )
