"""Find volumes that would damage the statistics of a run: NaN, spikes and sudden motion.

A volume is a spike if its difference from the last good one (DVARS: root mean square over voxels,
Power et al. 2012) or its mean over the brain is far from the running median: more than six scaled
median absolute deviations, and more than a tolerance that a quiet run needs. After five rejected
volumes in a row that agree with each other, the new level is accepted, as after a change of gain.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_HISTORY = 61  # good volumes for medians
_LEAST = 8  # of them before DVARS is judged
_DEVIATIONS = 6.0
_SCALED = 1.4826  # median absolute deviation of a normal distribution to its standard deviation
_DVARS_TOLERANCE, _MEAN_TOLERANCE = 0.5, 0.05  # of the median
_LEVEL_CHANGE = 5

Values = npt.NDArray[np.float32]


class Guard:
    """Judge volumes by those before.

    Parameters
    ----------
    max_displacement_mm : float
        Largest framewise displacement of a good volume.
    """

    def __init__(self, max_displacement_mm: float) -> None:
        self._most = max_displacement_mm
        self._good: Values | None = None
        self._absent: npt.NDArray[np.bool_] | None = None
        self._rejected: Values | None = None
        self._in_row = 0
        self._dvars: deque[float] = deque(maxlen=_HISTORY)
        self._means: deque[float] = deque(maxlen=_HISTORY)

    def judge(self, values: Values, displacement_mm: float | None) -> tuple[str, bool]:
        """Say what is wrong with a volume.

        Parameters
        ----------
        values : ndarray, (V,) float32
            Brain voxels. Voxels that are not finite in the first volume are set to 0 in every
            volume, in place: they lie outside the field of view.
        displacement_mm : float, optional

        Returns
        -------
        fault : str
            "" for a good volume.
        spike : bool
            Whether the fault is a spike.
        """
        if self._absent is None:
            absent = ~np.isfinite(values)
            if absent.all() or not np.any(values[~absent]):
                return "it has no signal in the brain", False
            self._absent = absent
        values[self._absent] = 0
        broken = int(values.size - np.count_nonzero(np.isfinite(values)))
        if broken:
            return f"it has NaN or infinity in {broken} brain voxels", False
        fault = self._jump(values)
        if not fault and displacement_mm is not None and displacement_mm > self._most:
            return f"the head moved {displacement_mm:.2f} mm (at most {self._most:g})", False
        fault = fault or self._change(values)
        if not fault:
            return "", False
        if self._settled(values):
            self._dvars.clear()
            self._means.clear()
            self._good = None
            return "", False
        self._reject(values)
        return fault, True

    def accept(self, values: Values) -> None:
        """Add a good volume to the history."""
        if self._good is not None:
            self._dvars.append(_distance(values, self._good))
        self._means.append(float(values.mean(dtype=np.float64)))
        self._good, self._rejected, self._in_row = values, None, 0

    def _jump(self, values: Values) -> str:
        if self._good is None:
            return ""
        mean = float(values.mean(dtype=np.float64))
        usual, reach = _usual(self._means, _MEAN_TOLERANCE)
        if abs(mean - usual) > reach:
            return f"its mean over the brain is {mean:.4g} (usual {usual:.4g})"
        return ""

    def _change(self, values: Values) -> str:
        if self._good is None or len(self._dvars) < _LEAST:
            return ""
        distance = _distance(values, self._good)
        usual, reach = _usual(self._dvars, _DVARS_TOLERANCE)
        if distance > usual + reach:
            return f"it differs by {distance:.4g} from the volume before (usual {usual:.4g})"
        return ""

    def _settled(self, values: Values) -> bool:
        """Whether rejected volumes have become a new level: they agree with each other."""
        return self._in_row >= _LEVEL_CHANGE and self._agrees(values)

    def _agrees(self, values: Values) -> bool:
        """Whether a volume differs from the last rejected one as good ones from each other."""
        if self._rejected is None or not self._dvars:
            return True
        usual, reach = _usual(self._dvars, _DVARS_TOLERANCE)
        return _distance(values, self._rejected) <= usual + reach

    def _reject(self, values: Values) -> None:
        self._in_row = self._in_row + 1 if self._agrees(values) else 1
        self._rejected = values


def _distance(one: Values, other: Values) -> float:
    return float(np.sqrt(np.mean(np.square(one - other), dtype=np.float64)))


def _usual(history: Sequence[float] | deque[float], tolerance: float) -> tuple[float, float]:
    """Median of a history, and the largest usual deviation from it."""
    found = np.asarray(history)
    middle = float(np.median(found))
    spread = _SCALED * float(np.median(np.abs(found - middle)))
    return middle, max(_DEVIATIONS * spread, tolerance * abs(middle))
