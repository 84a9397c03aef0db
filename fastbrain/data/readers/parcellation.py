"""Regions of a label image, and their means over the voxels of volumes.

Voxels are sorted by region once; each volume then takes one gather and one segmented sum. Integers
are summed exactly, so that the means equal those over boolean masks bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...grid import TokenGrid


@dataclass(frozen=True, eq=False)
class Parcellation:
    """Assignment of voxels to regions.

    Parameters
    ----------
    names : tuple of str
        Names of the R regions, in the order of their labels.
    order : ndarray, (V,) int64
        Flat indices within a volume of the voxels of all regions, sorted by region.
    starts : ndarray, (R,) int64
        Start of each region in `order`.
    elements : int
        Number of values in a volume.
    centers_mm : ndarray, (R, 3) float64, or None
        Mean world position (x, y, z) of each region's voxels.
    """

    names: tuple[str, ...]
    order: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    elements: int
    centers_mm: npt.NDArray[np.float64] | None = None

    @classmethod
    def from_labels(
        cls,
        labels: npt.ArrayLike,
        *,
        names: Mapping[int, str] | None = None,
        mask: npt.NDArray[np.bool_] | None = None,
        affine: npt.NDArray[np.float64] | None = None,
    ) -> Parcellation:
        """Sort the voxels of a label image by region.

        Parameters
        ----------
        labels : array_like, (Z, Y, X) int
            0 means no region.
        names : mapping of int to str, optional
            Regions to use and their names; 0 is left out. Default: every label, named by its
            number.
        mask : ndarray, (Z, Y, X) bool, optional
            Voxels that may be used.
        affine : ndarray, (4, 4), optional
            Voxel (x, y, z) to world mm, for `centers_mm`.

        Raises
        ------
        InputError
            Labels are not whole numbers, the mask has another shape, or a region has no voxel.
        """
        image = np.asarray(labels)
        if image.ndim != 3 or (image.dtype.kind == "f" and not (image == np.rint(image)).all()):
            raise InputError(
                "Parcellation: labels must be (Z, Y, X) whole numbers, got shape "
                f"{image.shape}, {image.dtype}. Resample an atlas with nearest neighbours."
            )
        if mask is not None and mask.shape != image.shape:
            raise InputError(
                f"Parcellation: mask must have the labels' shape {image.shape}, got {mask.shape}."
            )
        flat = image.reshape(-1).astype(np.int64)
        known = names or {int(k): str(int(k)) for k in np.unique(flat)}
        wanted = np.array(sorted(set(known) - {0}), dtype=np.int64)
        if not wanted.size:
            raise InputError("Parcellation: labels must hold a region other than 0, got none.")
        region = np.minimum(np.searchsorted(wanted, flat), len(wanted) - 1)
        taken = wanted[region] == flat
        if mask is not None:
            taken &= mask.reshape(-1)
        voxels = np.flatnonzero(taken)
        region = region[voxels]
        counts = np.bincount(region, minlength=len(wanted))
        if not counts.all():
            empty = [known[int(k)] for k in wanted[counts == 0]]
            raise InputError(
                f"Parcellation: every region must hold a voxel, got none in {len(empty)}: "
                f"{empty[:5]}. Leave these regions out."
            )
        centers = None
        if affine is not None:
            z, y, x = np.unravel_index(voxels, image.shape)
            sums = [np.bincount(region, weights=axis) for axis in (x, y, z)]
            centers = np.stack(sums, axis=1) / counts[:, None] @ affine[:3, :3].T + affine[:3, 3]
        return cls(
            tuple(known[int(k)] for k in wanted),
            voxels[np.argsort(region, kind="stable")],
            np.cumsum(counts) - counts,
            flat.size,
            centers,
        )

    @classmethod
    def from_grid(
        cls, grid: TokenGrid, *, affine: npt.NDArray[np.float64] | None = None
    ) -> Parcellation:
        """Use the patches of a token grid as regions, without an atlas.

        Parameters
        ----------
        grid : TokenGrid
            Patches must not overlap. Only voxels of its mask are used.
        affine : ndarray, (4, 4), optional
            Voxel (x, y, z) to world mm, for `centers_mm`.

        Raises
        ------
        InputError
            Patches share voxels.
        """
        if grid.overlapping:
            raise InputError(
                f"Parcellation.from_grid: patches must not overlap, got kernel {grid.kernel} and "
                f"stride {grid.stride}. Use a grid with a stride equal to its kernel."
            )
        labels = np.zeros(grid.mask.size, dtype=np.int64)
        token, element = np.nonzero(grid.offsets >= 0)
        labels[grid.offsets[token, element]] = token + 1
        names = {i + 1: "-".join(map(str, site)) for i, site in enumerate(grid.coords.tolist())}
        return cls.from_labels(labels.reshape(grid.shape), names=names, affine=affine)

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Voxels of each region, (R,)."""
        return np.diff(self.starts, append=len(self.order))

    def on_grid(self, grid: TokenGrid) -> Parcellation:
        """Convert to the patch-major volumes (n_tokens, P) of a store, with the same regions.

        Raises
        ------
        InputError
            The grid has another number of voxels, or a region has no voxel in it.
        """
        if grid.mask.size != self.elements:
            raise InputError(
                f"Parcellation.on_grid: the grid must have {self.elements} voxels, got "
                f"{grid.mask.size}. Make the parcellation on the store's grid."
            )
        offsets = grid.offsets.reshape(-1)
        # patches may overlap: use the first occurrence of a voxel
        place = np.full(self.elements, -1, dtype=np.int64)
        at = np.flatnonzero(offsets >= 0)[::-1]
        place[offsets[at]] = at
        found = place[self.order]
        counts = np.add.reduceat((found >= 0).astype(np.int64), self.starts)
        if not counts.all():
            empty = [n for n, count in zip(self.names, counts, strict=True) if not count]
            raise InputError(
                f"Parcellation.on_grid: every region must hold a voxel of the grid, got none in "
                f"{len(empty)}: {empty[:5]}. Leave these regions out."
            )
        starts = np.cumsum(counts) - counts
        return Parcellation(self.names, found[found >= 0], starts, offsets.size, self.centers_mm)

    def means(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Compute the mean of each region in each volume.

        Parameters
        ----------
        values : ndarray, (T, ...)
            Volumes of stored values; a memory map is read once, volume by volume.

        Returns
        -------
        ndarray, (R, T) float64

        Raises
        ------
        InputError
            A volume has another size, or a region has a value that is not finite.
        """
        if values.ndim < 2 or values[0].size != self.elements:
            raise InputError(
                f"Parcellation.means: values must be (T, ...) with {self.elements} values a "
                f"volume, got shape {values.shape}. The label image lies on another grid."
            )
        wide = np.float64 if values.dtype.kind == "f" else np.int64
        sums = np.empty((len(values), len(self.names)), dtype=wide)
        for volume, row in zip(values, sums, strict=True):
            sorted_by_region = volume.reshape(-1).take(self.order)
            np.add.reduceat(sorted_by_region, self.starts, dtype=wide, out=row)
        if wide is np.float64 and not np.isfinite(sums).all():
            bad = np.flatnonzero(~np.isfinite(sums).all(axis=0))
            raise InputError(
                "Parcellation.means: values must be finite inside the regions, got NaN or "
                f"infinity in {[self.names[i] for i in bad[:5]]}. Mask those voxels out."
            )
        return np.ascontiguousarray((sums / self.sizes).T)
