"""A head of smooth shapes, sampled on any grid after any motion without interpolation."""

from __future__ import annotations

import numpy as np

RADII_MM = np.array([65.0, 80.0, 50.0])
_SHAPES = 60


def affine_of(shape, sizes=(3.2, 3.2, 3.5)) -> np.ndarray:
    """Voxel (x, y, z) to mm, (4, 4): x runs to the left, the zero is near the middle."""
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])
    middle = (np.array(shape[::-1]) - 1) / 2
    affine[:3, 3] = -affine[:3, :3] @ middle + [1.5, -2.0, 3.0]
    return affine


def head(shape, affine, *, motion=None, seed=1) -> np.ndarray:
    """Intensities (Z, Y, X) of the head after a motion (4, 4) of the world."""
    rng = np.random.default_rng(seed)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = np.concatenate([voxels.reshape(-1, 3)[:, ::-1], np.ones((voxels.size // 3, 1))], 1)
    world = places @ np.asarray(affine).T
    if motion is not None:
        world = world @ np.linalg.inv(motion).T
    from_middle = world[:, :3]
    radius = np.sqrt(((from_middle / RADII_MM) ** 2).sum(axis=1))
    texture = np.ones(len(world))
    for _ in range(_SHAPES):
        place, width = rng.uniform(-55, 55, 3), rng.uniform(5, 14)
        height = rng.uniform(-0.4, 0.4)
        distance = ((from_middle - place) ** 2).sum(axis=1)
        texture += height * np.exp(-distance / (2 * width**2))
    return (1000 / (1 + np.exp((radius - 1) * 25)) * texture).reshape(shape)
