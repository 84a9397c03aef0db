"""Settings of preprocessing while a run is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError
from ..volume import MIN_DET
from .resample import Interpolation

Statistics = Literal["decaying", "run so far"]
MotionFrom = Literal["volumes", "source", "none"]
_MOST_VOLUMES = 100_000


@checked
@dataclass(frozen=True, eq=False)
class PreprocessSettings:
    """Settings of :class:`fastbrain.realtime.preprocess.VolumePipeline`.

    Parameters
    ----------
    statistics : {"decaying", "run so far"}
        Drift, mean and standard deviation of each voxel: with exponential forgetting, for runs of
        any length; or over all volumes so far of a run of `n_volumes`, which at its last volume are
        those of ``fastbrain decode --bold``.
    n_volumes : int, optional
        Planned length of the run; only with, and needed by, "run so far".
    memory_s : float, optional
        Time constant of forgetting, seconds. Default: twice the high-pass period of the model, or
        300 s for a model with a line alone.
    motion : {"volumes", "source", "none"}
        Whether motion is estimated from the volumes and corrected, is taken from a source that
        corrected it, or is not known.
    interpolation : {"linear", "cubic"}
        Of volumes that are corrected for motion. Without correction a scan on another grid is
        interpolated linearly, as by ``fastbrain decode --bold``.
    max_displacement_mm : float
        Framewise displacement above which a volume is replaced by the one before (0.9 mm: Siegel et
        al. 2014, Human Brain Mapping 35:1981).
    max_replaced : float
        Largest share of the volumes of a window that may be missing or replaced, 0..1.
    warm_up_s : float
        Time before the first window, seconds; drift and signal cannot be separated earlier.
    alignment : ndarray, (4, 4) float64, optional
        World mm of the model to world mm of the scanner, for a person who lies elsewhere than the
        headers say. Default: both are the same.
    start_time_s : float
        Acquisition time of volume 0 on the clock of the stimuli, seconds.

    Raises
    ------
    InputError
        A value is out of range, or `n_volumes` does not go with `statistics`.
    """

    statistics: Statistics = "decaying"
    n_volumes: int | None = None
    memory_s: float | None = None
    motion: MotionFrom = "volumes"
    interpolation: Interpolation = "cubic"
    max_displacement_mm: float = 0.9
    max_replaced: float = 0.25
    warm_up_s: float = 20.0
    alignment: npt.NDArray[np.float64] | None = None
    start_time_s: float = 0.0

    def __post_init__(self) -> None:
        if (self.statistics == "run so far") != (self.n_volumes is not None):
            raise InputError(
                "PreprocessSettings: n_volumes must be given with statistics 'run so far' alone, "
                f"got {self.n_volumes} with {self.statistics!r}."
            )
        if self.n_volumes is not None and not 1 <= self.n_volumes <= _MOST_VOLUMES:
            raise InputError(
                f"PreprocessSettings: n_volumes must be 1..{_MOST_VOLUMES}, got {self.n_volumes}."
            )
        for name, low, high in (
            ("memory_s", 1.0, 1e6),
            ("max_displacement_mm", 0.01, 1e3),
            ("max_replaced", 0.0, 1.0),
            ("warm_up_s", 0.0, 1e4),
            ("start_time_s", -1e6, 1e6),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise InputError(
                    f"PreprocessSettings: {name} must be {low:g}..{high:g}, got {value:g}."
                )
        if self.alignment is not None:
            check_affine("PreprocessSettings", "alignment", self.alignment)


def check_affine(function: str, name: str, affine: npt.NDArray[np.float64]) -> None:
    """Raise :class:`InputError` unless an affine (4, 4) is finite and can be inverted."""
    fits = affine.shape == (4, 4) and bool(np.isfinite(affine).all())
    if not fits or not np.array_equal(affine[3], [0, 0, 0, 1]):
        raise InputError(
            f"{function}: {name} must be finite, (4, 4), with the last row 0 0 0 1, got shape "
            f"{affine.shape}. Read it from the header."
        )
    if abs(np.linalg.det(affine[:3, :3])) < MIN_DET:
        raise InputError(
            f"{function}: {name} must be invertible, got a determinant of "
            f"{np.linalg.det(affine[:3, :3]):.3g}. Read it from the header."
        )
