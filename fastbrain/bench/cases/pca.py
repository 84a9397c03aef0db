"""Principal components of few rows with many voxels, against an SVD of the whole matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ...data.features.pca import fit_pca
from ...data.store.out_of_core import ArrayRows
from .. import work
from ..registry import Entry, Problem, Setting, relative

# float32 has 7 digits, and the last component is a hundredth of the first
_LIMIT = 1e-3


def problem(rows: int, voxels: int, components: int) -> Problem:
    """Rows with falling variances, so that every component is one direction and no other."""
    rng = np.random.default_rng(0)
    spread = 1 / np.arange(1, rows + 1)
    mixed = rng.standard_normal((rows, rows)) * spread
    x = (mixed @ rng.standard_normal((rows, voxels)) + 3).astype(np.float32)
    ids = tuple(f"row-{i}" for i in range(rows))
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    truth = np.linalg.svd(centred, full_matrices=False)[2][:components]

    def ours() -> npt.NDArray[np.float32]:
        return fit_pca(ArrayRows(x), components, fitted_on=ids).components

    def plain() -> npt.NDArray[np.float32]:
        return np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:components]

    def error(name: str, got: npt.NDArray[np.floating]) -> float:
        # a component and its negative are the same
        signs = np.sign((got * truth).sum(axis=1, keepdims=True))
        return relative(torch.from_numpy(got * signs), torch.from_numpy(truth))

    need = work.pca(rows, voxels, components, x.itemsize)
    return Problem(
        providers={"fastbrain": ours, "numpy_svd": plain},
        error=error,
        limit=_LIMIT,
        flops=need.flops,
        traffic=need.traffic,
        inputs={"x": x, "components": components},
        facts={"rows": rows, "voxels": voxels, "components": components},
    )


def _entry(rows: int, voxels: int, components: int, *, rounds: int) -> Entry:
    def build(setting: Setting) -> Problem:
        return problem(rows, voxels, components)

    case = f"{rows}x{voxels}x{components}"
    return Entry("pca", case, build, rounds, on_host=True, precision="float32")


PROVIDERS = ("fastbrain", "numpy_svd")

ENTRIES = [_entry(256, 40_000, 64, rounds=5)]
