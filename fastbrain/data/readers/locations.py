"""Places of the values of a recording that is not a volume: vertices, voxels or parcels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ...errors import CohortError, VolumeError, some


@dataclass(frozen=True, eq=False)
class Structure:
    """Consecutive locations of one structure.

    Parameters
    ----------
    name : str
        ``CORTEX_LEFT``, ``THALAMUS_RIGHT``.
    vertices : ndarray, (n,) int64, or None
        Vertices of the surface, for a cortical structure.
    n_vertices : int
        Number of vertices of the whole surface; 0 for voxels.
    voxels : ndarray, (n, 3) int64, or None
        Voxels (i, j, k), for a subcortical structure.
    affine : ndarray, (4, 4) float64, or None
        Voxel (i, j, k) to world mm.
    """

    name: str
    vertices: npt.NDArray[np.int64] | None = None
    n_vertices: int = 0
    voxels: npt.NDArray[np.int64] | None = None
    affine: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        found = self.voxels if self.vertices is None else self.vertices
        return 0 if found is None else len(found)


@dataclass(frozen=True, eq=False)
class Locations:
    """Places of the V values of a volume: structures one after the other, or named parcels.

    Parameters
    ----------
    structures : tuple of Structure
        Empty for parcels.
    parcels : tuple of str
        Names of the parcels; empty for structures.
    atlas : str
        Digest of the label image that the parcels were averaged in; "" if it is not known.
    centers_mm : ndarray, (V, 3) float64, or None
        Positions of the parcels, mm.
    """

    structures: tuple[Structure, ...] = ()
    parcels: tuple[str, ...] = ()
    atlas: str = ""
    centers_mm: npt.NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.parcels) or sum(map(len, self.structures))

    @cached_property
    def digest(self) -> str:
        """Identity of the locations: equal where location i is the same place.

        Parcels are found by name, so that their order is not part of it.
        """
        if self.parcels:
            return f"parcels {self.atlas}".strip()
        digest = hashlib.sha256()
        for s in self.structures:
            digest.update(f"{s.name} {len(s)} {s.n_vertices} ".encode())
            for array in (s.vertices, s.voxels, s.affine):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def describe(self) -> str:
        """Describe the locations in a few words."""
        if self.parcels:
            return f"{len(self.parcels)} parcels"
        cortex = [s for s in self.structures if s.vertices is not None]
        parts = [f"{len(s)} of {s.n_vertices} vertices of {s.name}" for s in cortex]
        rest = [s for s in self.structures if s.vertices is None]
        if rest:
            parts.append(f"{sum(map(len, rest))} voxels of {len(rest)} structures")
        return ", ".join(parts)


def column_order(own: Sequence[str], wanted: Sequence[str], *, path: object) -> list[int]:
    """Return the column of each wanted parcel, found by name.

    Parameters
    ----------
    own : sequence of str
        Names of the columns of a file.
    wanted : sequence of str
    path : object
        The file, for the message.

    Raises
    ------
    CohortError
        A parcel is missing. Further ones are left out.
    """
    place = {name: i for i, name in enumerate(own)}
    missing = [name for name in wanted if name not in place]
    if missing:
        raise CohortError(
            f"prepare: {path} must have the parcels of the other runs, got none named "
            f"{some(missing)}. Extract the time courses of all runs with one atlas."
        )
    return [place[name] for name in wanted]


def check_names(names: Sequence[str], *, path: object) -> tuple[str, ...]:
    """Return the names of parcels after checking that each is given once.

    Raises
    ------
    VolumeError
        A name is empty or given twice, or there is none.
    """
    found = tuple(str(name).strip() for name in names)
    twice = sorted({name for name in found if not name or found.count(name) > 1})[:5]
    if not found or twice:
        raise VolumeError(
            f"load: {path} must name each parcel once, got "
            + (f"{twice} empty or more than once." if found else "no parcel.")
            + " Correct the header of the table."
        )
    return found
