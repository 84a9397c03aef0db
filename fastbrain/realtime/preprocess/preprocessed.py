"""Result of preprocessing one more volume of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Preprocessed:
    """A preprocessed volume, and the window that ends with it.

    Parameters
    ----------
    index : int
        Number of the volume.
    window : ndarray, (F, n_tokens, P) int16, or None
        The last F volumes in the steps of the model's store, as its decoder reads them; None while
        the window is held, and always without a model.
    held : str or None
        Why the window must not be decoded; without a model, why the volume is not used.
    motion : ndarray, (6,) float64, or None
        Movement of the head from the reference to this volume: translation in mm, rotation in
        radians. None if it is not measured.
    displacement_mm : float or None
        Framewise displacement from the last volume with a known motion (Power et al. 2012, sphere
        of 50 mm); 0 for the first.
    tsnr : float or None
        Median over brain voxels of mean / standard deviation of the good volumes, without
        detrending; None before there are 8.
    spike : bool
        Whether the volume is a spike.
    replaced : bool
        Whether the volume is not used: in windows the last good one stands in its place, and it
        enters no statistics.
    onset_s : float or None
        Onset of the stimulus with a response that begins with the window, seconds: the first volume
        of the window minus the haemodynamic delay of the model.
    stages_s : mapping of str to float
        Seconds that the stages "motion", "resample", "statistics" and "window" took.
    """

    index: int
    window: npt.NDArray[np.int16] | None
    held: str | None
    motion: npt.NDArray[np.float64] | None
    displacement_mm: float | None
    tsnr: float | None
    spike: bool
    replaced: bool
    onset_s: float | None
    stages_s: Mapping[str, float] = field(default_factory=dict)
