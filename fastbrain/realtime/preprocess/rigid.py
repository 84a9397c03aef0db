"""Rigid motion: six parameters, their matrix, and framewise displacement.

The parameters describe how the head moved: a point at ``x`` in the reference lies at ``y`` in the
volume, with ``y = R (x - c) + c + t``, the fixed centre ``c``, and ``R = Rz Ry Rx`` of right-handed
rotations about the axes of the world (RAS+).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError

Array = npt.NDArray[np.float64]
HEAD_RADIUS_MM = 50.0  # Power et al. 2012, NeuroImage 59:2142


@checked
def rigid_matrix(parameters: npt.NDArray[np.float64], centre: npt.NDArray[np.float64]) -> Array:
    """Build the matrix of a rigid motion.

    Parameters
    ----------
    parameters : ndarray, (6,) float64
        Translation along x, y, z in mm, then rotation about x, y, z in radians.
    centre : ndarray, (3,) float64
        Centre of rotation, world mm.

    Returns
    -------
    ndarray, (4, 4) float64
        Maps world coordinates (x, y, z) in mm of the reference to those of the volume.

    Raises
    ------
    InputError
        A shape is wrong or a value is not finite.
    """
    shift = _finite("rigid_matrix", "parameters", parameters, 6)
    middle = _finite("rigid_matrix", "centre", centre, 3)
    (cx, cy, cz), (sx, sy, sz) = np.cos(shift[3:]), np.sin(shift[3:])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = about_z @ about_y @ about_x
    matrix[:3, 3] = shift[:3] + middle - matrix[:3, :3] @ middle
    return matrix


@checked
def rigid_parameters(matrix: npt.NDArray[np.float64], centre: npt.NDArray[np.float64]) -> Array:
    """Return the parameters of a rigid motion; inverse of :func:`rigid_matrix`.

    Parameters
    ----------
    matrix : ndarray, (4, 4) float64
    centre : ndarray, (3,) float64
        Centre of rotation, world mm.

    Returns
    -------
    ndarray, (6,) float64
        Translation in mm, rotation in radians; the rotation about y lies within a quarter turn.

    Raises
    ------
    InputError
        A shape is wrong, a value is not finite, or the matrix is not a rotation with a translation
        (to 1e-6).
    """
    whole = _finite("rigid_parameters", "matrix", matrix, (4, 4))
    middle = _finite("rigid_parameters", "centre", centre, 3)
    turn = whole[:3, :3]
    if not (
        np.allclose(turn @ turn.T, np.eye(3), atol=1e-6)
        and np.linalg.det(turn) > 0
        and np.array_equal(whole[3], [0, 0, 0, 1])
    ):
        raise InputError(
            "rigid_parameters: matrix must be a rotation with a translation, got one that scales, "
            "shears or mirrors. Use the matrix of a rigid motion."
        )
    angles = (
        math.atan2(turn[2, 1], turn[2, 2]),
        math.asin(min(1.0, max(-1.0, -turn[2, 0]))),
        math.atan2(turn[1, 0], turn[0, 0]),
    )
    return np.concatenate([whole[:3, 3] + turn @ middle - middle, angles])


@checked
def framewise_displacement(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Sum the absolute changes of the six parameters, with rotations as arcs of a 50 mm sphere.

    Parameters
    ----------
    one, other : ndarray, (6,) float64
        Translation in mm, rotation in radians.

    Returns
    -------
    float
        Displacement in mm (Power et al. 2012, NeuroImage 59:2142).

    Raises
    ------
    InputError
        A shape is wrong or a value is not finite.
    """
    change = np.abs(
        _finite("framewise_displacement", "one", one, 6)
        - _finite("framewise_displacement", "other", other, 6)
    )
    return float(change[:3].sum() + HEAD_RADIUS_MM * change[3:].sum())


def _finite(
    function: str, name: str, value: npt.NDArray[np.float64], shape: int | tuple[int, ...]
) -> Array:
    wanted = (shape,) if isinstance(shape, int) else shape
    if value.shape != wanted or not np.isfinite(value).all():
        raise InputError(
            f"{function}: {name} must be finite and of shape {wanted}, got shape {value.shape}"
            f"{'' if np.isfinite(value).all() else ' with NaN or infinity'}. Check the estimate."
        )
    return np.asarray(value, dtype=np.float64)
