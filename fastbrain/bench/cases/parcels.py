"""Region means of a run, against one boolean mask a region and against scipy's labelled means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ...data import Parcellation
from .. import work
from ..registry import Entry, Problem, Setting


def atlas(shape: tuple[int, int, int], regions: int) -> np.ndarray:
    """An ellipsoid cut into compact regions: each voxel belongs to the nearest of random seeds."""
    rng = np.random.default_rng(0)
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    middle = (np.array(shape) - 1) / 2
    inside = np.flatnonzero((((at - middle) / (0.85 * middle)) ** 2).sum(axis=1) < 1)
    seeds = at[rng.choice(inside, regions, replace=False)]
    labels = np.zeros(len(at), np.int32)
    labels[inside] = 1 + cKDTree(seeds).query(at[inside])[1]
    return labels.reshape(shape)


def _entry(regions: int, shape: tuple[int, int, int], volumes: int, *, rounds: int) -> Entry:
    def build(setting: Setting) -> Problem:
        labels = atlas(shape, regions)
        values = np.random.default_rng(1).integers(0, 4000, (volumes, *shape)).astype(np.int16)
        parcels, wanted = Parcellation.from_labels(labels), np.arange(1, regions + 1)

        def boolean_masks() -> np.ndarray:
            return np.stack([values[:, labels == k].mean(axis=1) for k in wanted])

        truth = boolean_masks()
        ways: dict[str, Callable[[], Any]] = {
            "fastbrain": lambda: parcels.means(values),
            "fastbrain_and_sort": lambda: Parcellation.from_labels(labels).means(values),
            "boolean_masks": boolean_masks,
            "ndimage_mean": lambda: np.stack([ndimage.mean(v, labels, wanted) for v in values], 1),
        }
        need = work.means(int((labels > 0).sum()), volumes, values.itemsize)
        return Problem(
            providers=ways,
            # equal to the last bit; the labelled means of scipy only nearly
            error=lambda name, got: float(
                not (np.allclose if name == "ndimage_mean" else np.array_equal)(got, truth)
            ),
            limit=0.0,
            flops=need.flops,
            traffic=need.traffic,
            facts={"regions": regions, "voxels": labels.size, "volumes": volumes},
        )

    case = f"{regions}x{np.prod(shape)}x{volumes}"
    return Entry("parcel_means", case, build, rounds, on_host=True, precision="int16")


PROVIDERS = ("fastbrain", "fastbrain_and_sort", "boolean_masks", "ndimage_mean")

ENTRIES = [_entry(424, (91, 109, 91), 30, rounds=3)]
