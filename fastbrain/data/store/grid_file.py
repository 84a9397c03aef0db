"""Token grid of a store in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arrays import read_npz
from ..._io import write_atomic
from ...errors import InputError, StoreError
from ...grid import TokenGrid
from ...layout import TokenLayout
from .integrity import is_grid_of
from .manifest import Manifest

_LISTED = ("offsets", "centers_mm", "about")


def write_grid(path: Path, grid: TokenGrid, affine: npt.NDArray[np.float64]) -> None:
    """Write the ``grid.npz`` of a store, atomically."""
    extra: dict[str, Any] = {}
    if isinstance(grid, TokenLayout):
        extra = {"offsets": grid.offsets, "centers_mm": grid.centers_mm, "about": grid.about()}

    def write(file: Any) -> None:
        np.savez(
            file,
            mask=grid.mask,
            kernel=np.array(grid.kernel),
            stride=np.array(grid.stride),
            kept=grid.kept,
            affine=affine,
            **extra,
        )

    write_atomic(path, write)


def read_grid(path: Path, info: Manifest) -> tuple[TokenGrid, npt.NDArray[np.float64]]:
    """Read the token grid and the affine of a store.

    Raises
    ------
    StoreError
        The file is damaged, or the grid is not that of the manifest.
    """
    names = ("mask", "kernel", "stride", "kept", "affine")
    listed = _LISTED if info.geometry != "volume" else ()
    arrays = read_npz(path, (*names, *listed), where="VoxelStore.open", error=StoreError)
    extra = [arrays.pop(name) for name in listed]
    found = {name: (array.dtype.kind, array.ndim, array.size) for name, array in arrays.items()}
    triple, affine = ("i", 1, 3), arrays["affine"]
    fits = (
        (found["kernel"], found["stride"]) == (triple, triple)
        and min(*arrays["kernel"], *arrays["stride"]) >= 1
        and (found["mask"][:2], found["kept"][:2]) == (("b", 3), ("i", 1))
        and affine.shape == (4, 4)
        and affine.dtype == np.float64
    )
    if fits:
        kernel, stride = (tuple(arrays[name].tolist()) for name in ("kernel", "stride"))
        try:
            if extra:
                grid: TokenGrid = TokenLayout.from_arrays(*extra)
            else:
                grid = TokenGrid(arrays["mask"], kernel, stride, arrays["kept"])
        except InputError as error:
            raise StoreError(f"VoxelStore.open: {path} must be a usable grid: {error}") from error
        if is_grid_of(grid, info):
            return grid, affine
    raise StoreError(f"VoxelStore.open: {path} must be the grid of the manifest, got another.")
