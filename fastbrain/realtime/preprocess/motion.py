"""Estimate the rigid motion of a volume against a reference.

Gauss-Newton on the sum of squared differences, linearised once at the reference (Friston et al.
1995, Human Brain Mapping 3:165; AFNI's ``3dvolreg``): the derivatives of the reference by the six
parameters, its intensity and a constant form a matrix with a pseudo-inverse that is computed once,
so that a step is one interpolation at some thousand voxels and one small product. Volumes are
smoothed, first widely for the range of capture, then narrowly for accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ...errors import InputError
from .resample import linear
from .rigid import HEAD_RADIUS_MM, rigid_matrix, rigid_parameters

Array = npt.NDArray[np.float64]
_FWHM_MM = (10.0, 5.0)
_POINTS = 16384  # voxels that are compared
_BRIGHT = 0.2  # of the 98th percentile; darker voxels are not compared
_STEPS = 12
_SETTLED_MM = 1e-3  # of a step, at the surface of a sphere of 50 mm
_COARSE_MM = 0.1
_FARTHEST_MM = 30.0
_LEAST_POINTS = 64
_CONTRAST = 1e-3  # least range of the compared voxels, of their largest value


@dataclass(frozen=True, eq=False)
class Motion:
    """Estimate of one volume.

    Parameters
    ----------
    parameters : ndarray, (6,) float64
        Translation in mm, rotation in radians; see :mod:`fastbrain.realtime.preprocess.rigid`.
    converged : bool
        Whether the steps became smaller than 0.001 mm and the head stayed within 30 mm.
    """

    parameters: Array
    converged: bool


@dataclass(frozen=True, eq=False)
class _Level:
    """Smoothing of one resolution and the linearised reference."""

    smoothing: tuple[Tensor, Tensor, Tensor]  # along z, y, x
    points: Array  # (N, 4) world mm of the reference, homogeneous
    values: Tensor  # (N,)
    solve: Tensor  # (8, N)


class MotionEstimator:
    """Rigid motion against one reference volume.

    Parameters
    ----------
    reference : ndarray, (Z, Y, X)
        Intensities; values that are not finite count as 0.
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm.

    Attributes
    ----------
    centre : ndarray, (3,) float64
        Centre of rotation: the centre of intensity of the reference, world mm.

    Raises
    ------
    InputError
        The reference shows too little to align with: fewer than 64 bright voxels, or no contrast.
    """

    def __init__(self, reference: npt.NDArray[np.generic], affine: Array) -> None:
        volume = _plain(reference)
        self._to_voxels = np.linalg.inv(affine)
        self._shape = tuple(reference.shape)
        weights = volume.numpy().clip(min=0).astype(np.float64)
        if not weights.any():
            raise InputError(
                "MotionEstimator: reference must have intensities above 0, got none. Take another "
                "volume as reference."
            )
        places = np.stack(np.meshgrid(*map(np.arange, self._shape), indexing="ij"), axis=-1)
        middle = (places.reshape(-1, 3) * weights.reshape(-1, 1)).sum(axis=0) / weights.sum()
        self.centre: Array = (affine @ [*middle[::-1], 1.0])[:3]
        self._levels = tuple(_level(volume, affine, self.centre, fwhm) for fwhm in _FWHM_MM)

    def estimate(self, volume: npt.NDArray[np.generic], start: Array) -> Motion:
        """Estimate the motion of a volume.

        Parameters
        ----------
        volume : ndarray, (Z, Y, X)
            On the voxels of the reference.
        start : ndarray, (6,) float64
            First guess, for example the motion of the volume before.
        """
        plain = _plain(volume)
        matrix, converged = rigid_matrix(start, self.centre), False
        for level, settled in zip(self._levels, (_COARSE_MM, _SETTLED_MM), strict=True):
            smooth = _smooth(plain, level.smoothing)
            for _ in range(_STEPS):
                places = torch.from_numpy(level.points @ (self._to_voxels @ matrix).T[:, :3])
                step = level.solve @ (level.values - linear(smooth, places))
                change = step[:6].to(torch.float64).numpy()
                moved = np.abs(change[:3]).sum() + HEAD_RADIUS_MM * np.abs(change[3:]).sum()
                if not moved < _FARTHEST_MM:
                    return Motion(np.array(start, dtype=np.float64), False)
                matrix = matrix @ rigid_matrix(change, self.centre)
                converged = bool(moved < settled)
                if converged:
                    break
        parameters = rigid_parameters(matrix, self.centre)
        reach = np.abs(parameters[:3]).max() + HEAD_RADIUS_MM * np.abs(parameters[3:]).max()
        return Motion(parameters, converged and bool(reach < _FARTHEST_MM))


def _plain(volume: npt.NDArray[np.generic]) -> Tensor:
    values = np.nan_to_num(volume.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return torch.from_numpy(np.ascontiguousarray(values))


def _level(volume: Tensor, affine: Array, centre: Array, fwhm: float) -> _Level:
    sizes = np.linalg.norm(affine[:3, :3], axis=0)[::-1]  # z, y, x
    smoothing = tuple(
        _gaussian(n, fwhm / size) for n, size in zip(volume.shape, sizes, strict=True)
    )
    smooth = _smooth(volume, smoothing)
    slopes = np.stack(
        [np.gradient(smooth.numpy(), axis=a) if n > 1 else np.zeros(volume.shape)
         for a, n in zip((2, 1, 0), volume.shape[::-1], strict=True)],
        axis=-1,
    )  # fmt: skip  # (Z, Y, X, 3) along x, y, z, per voxel
    bright = smooth.numpy() > _BRIGHT * np.quantile(smooth.numpy(), 0.98)
    for axis, n in enumerate(volume.shape):
        if n >= 8:  # the outermost slices leave the field of view with the head
            np.moveaxis(bright, axis, 0)[[0, -1]] = False
    chosen = np.argwhere(bright)
    chosen = chosen[:: max(1, -(-len(chosen) // _POINTS))]
    values = smooth.numpy()[tuple(chosen.T)]
    if len(chosen) < _LEAST_POINTS or np.ptp(values) < _CONTRAST * values.max():
        raise InputError(
            f"MotionEstimator: reference must show a head with contrast, got {len(chosen)} bright "
            "voxels. Take another volume as reference."
        )
    points = np.concatenate([chosen[:, ::-1], np.ones((len(chosen), 1))], axis=1) @ affine.T
    gradient = slopes[tuple(chosen.T)] @ np.linalg.inv(affine[:3, :3])  # per mm of world
    columns = np.concatenate(
        [
            gradient,
            np.cross(points[:, :3] - centre, gradient),  # derivative by a rotation vector
            -values[:, None],
            -np.ones((len(chosen), 1)),
        ],
        axis=1,
    )
    scale = np.sqrt((columns**2).mean(axis=0))
    # a direction without contrast, as along a single slice, gets no motion
    scale = np.where(scale > 1e-12, scale, 1.0)
    solve = np.linalg.pinv(columns / scale, rcond=1e-4) / scale[:, None]
    return _Level(
        smoothing,  # type: ignore[arg-type]
        points,
        torch.from_numpy(values),
        torch.from_numpy(solve.astype(np.float32)),
    )


def _gaussian(n: int, fwhm: float) -> Tensor:
    """Matrix (n, n) float32 that smooths along an axis; rows sum to 1 at the borders too."""
    distance = np.subtract.outer(np.arange(n), np.arange(n))
    weights = np.exp(-4 * np.log(2) * (distance / max(fwhm, 1e-3)) ** 2)
    return torch.from_numpy((weights / weights.sum(axis=1, keepdims=True)).astype(np.float32))


def _smooth(volume: Tensor, smoothing: tuple[Tensor, ...]) -> Tensor:
    along_z, along_y, along_x = smoothing
    z = len(volume)
    found = along_y @ (volume @ along_x.T)
    return (along_z @ found.reshape(z, -1)).view(volume.shape)
