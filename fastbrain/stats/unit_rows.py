"""Vectors scaled to length one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def unit_rows(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scale the last axis of an array (..., D) to length one; zero vectors stay zero."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    found: npt.NDArray[np.float64] = np.divide(
        rows, length, out=np.zeros_like(rows), where=length > 0
    )
    return found
