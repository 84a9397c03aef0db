"""Bring the brain voxels of each volume to their places in a reference volume."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import numpy.typing as npt
import torch

from ...data.readers.masks import same_affine
from ...data.readers.smooth import smooth_volume
from ...errors import InputError
from ..volume import Volume
from .motion import MotionEstimator
from .resample import outside, sample
from .rigid import framewise_displacement, rigid_matrix
from .settings import PreprocessSettings

Array = npt.NDArray[np.float64]
_OUTSIDE = 0.01  # largest share of the brain voxels outside the field of view


@dataclass(frozen=True, eq=False)
class Aligned:
    """Brain voxels of one volume.

    Parameters
    ----------
    values : ndarray, (V,) float32
        Intensities; NaN outside the field of view.
    motion : ndarray, (6,) float64, or None
    displacement_mm : float or None
    fault : str
        Why the motion could not be estimated; "" otherwise.
    stages_s : dict
    """

    values: npt.NDArray[np.float32]
    motion: Array | None
    displacement_mm: float | None
    fault: str
    stages_s: dict[str, float]


class Alignment:
    """Motion and interpolation of the volumes of a run.

    Parameters
    ----------
    reference : Volume
        Checked.
    voxels : ndarray, (V, 3) int64
        Brain voxels (z, y, x) of a grid.
    grid_shape : tuple of 3 int
        (Z, Y, X).
    grid_affine : ndarray, (4, 4) float64
        Voxel (x, y, z) of the grid to world mm of the model.
    settings : PreprocessSettings
    smoothing_mm : float, optional
        Width of the Gaussian that smooths a volume before it is interpolated, mm, as in training.

    Raises
    ------
    InputError
        The field of view of the reference leaves out more than 1 % of the brain voxels, or it shows
        no head to align with.
    """

    def __init__(
        self,
        reference: Volume,
        voxels: npt.NDArray[np.int64],
        *,
        grid_shape: tuple[int, int, int],
        grid_affine: Array,
        settings: PreprocessSettings,
        smoothing_mm: float | None = None,
    ) -> None:
        self._settings, self._smoothing_mm = settings, smoothing_mm
        self._to_voxels = np.linalg.inv(reference.affine)
        to_scanner = np.eye(4) if settings.alignment is None else settings.alignment
        places = np.concatenate([voxels[:, ::-1], np.ones((len(voxels), 1))], axis=1)
        self._world = places @ (to_scanner @ grid_affine).T  # (V, 4) mm of the scanner
        own = self._places(np.eye(4))
        shape = reference.data.shape
        self._absent = outside(own, shape)
        if self._absent.mean() > _OUTSIDE:
            raise InputError(
                "VolumePipeline.push: volume must cover the brain mask of the model, got "
                f"{self._absent.mean():.0%} of it outside the field of view. Place the slices as "
                "in training, or give the alignment of this person."
            )
        self._still = torch.from_numpy(own)
        exact = (
            settings.alignment is None
            and shape == grid_shape
            and same_affine(reference.affine, grid_affine, grid_shape)
        )
        self._flat = np.ravel_multi_index(tuple(voxels.T), grid_shape) if exact else None
        self._estimator = None
        if settings.motion == "volumes":
            self._estimator = MotionEstimator(reference.data, reference.affine)
        self._motion: Array | None = None

    @property
    def centre(self) -> Array | None:
        """Centre of rotation (3,), mm; None where motion is not estimated."""
        return None if self._estimator is None else self._estimator.centre

    def align(self, volume: Volume) -> Aligned:
        """Estimate the motion of a volume, and interpolate its brain voxels."""
        begin = perf_counter()
        motion, fault = self._measure(volume)
        measured = perf_counter()
        values = self._interpolated(volume, motion)
        values[self._absent] = np.nan
        moved = None
        if motion is not None:
            before = motion if self._motion is None else self._motion
            moved = framewise_displacement(motion, before)
        stages = {"motion": measured - begin, "resample": perf_counter() - measured}
        return Aligned(values, motion, moved, fault, stages)

    def follow(self, aligned: Aligned) -> None:
        """Take the motion of a volume as the one before the next."""
        if aligned.motion is not None:
            self._motion = aligned.motion

    def _measure(self, volume: Volume) -> tuple[Array | None, str]:
        if self._settings.motion == "source" and volume.motion is not None:
            return np.asarray(volume.motion, dtype=np.float64), ""
        if self._estimator is None:
            return None, ""
        start = np.zeros(6) if self._motion is None else self._motion
        found = self._estimator.estimate(volume.data, start)
        if not found.converged:
            return None, "its motion cannot be estimated"
        return found.parameters, ""

    def _interpolated(self, volume: Volume, motion: Array | None) -> npt.NDArray[np.float32]:
        data = volume.data
        if self._smoothing_mm is not None:
            data = smooth_volume(data.astype(np.float32), volume.affine, self._smoothing_mm)
        if self._estimator is None or motion is None:
            if self._flat is not None:
                return data.reshape(-1)[self._flat].astype(np.float32)
            places, how = self._still, "linear"
        else:
            places = torch.from_numpy(self._places(rigid_matrix(motion, self._estimator.centre)))
            how = self._settings.interpolation
        volumes = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
        return sample(volumes, places, how).numpy()  # type: ignore[arg-type]

    def _places(self, motion: Array) -> Array:
        """Voxel coordinates (V, 3) (x, y, z) of the brain voxels in a volume after a motion."""
        return self._world @ (self._to_voxels @ motion).T[:, :3]
