"""Square patches on flattened surfaces.

A flat map is a surface that was cut and laid in a plane. Vertices that none of its triangles names
(medial wall) have no place on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...errors import CohortError, InputError, VolumeError
from ..readers.gifti import read_mesh, structure_of
from ..readers.locations import Structure

Array = npt.NDArray[np.float64]
_STEP_MM = 0.5  # in which the side of squares is chosen
_BESIDE_MM = 20.0  # from the middle to the map of either hemisphere
_BELOW_MM = 100.0  # from the lowest point of the maps to the origin of subcortical positions
_LEVEL = 0.01  # of its width, by which a map may leave its plane


@dataclass(frozen=True, eq=False)
class FlatCortex:
    """Flat maps of both hemispheres side by side, with squares of one side length.

    Parameters
    ----------
    places : dict of str to ndarray, (n_vertices, 2) float64
        Position (x, y) of every vertex by structure, mm; NaN without a place on the map. The left
        hemisphere has x < 0, the right one x > 0.
    side : float
        Of a square, mm.
    below : float
        y of the origin of subcortical positions, mm.
    """

    places: dict[str, Array]
    side: float
    below: float

    @classmethod
    def read(cls, files: Mapping[str, Path], most: int) -> FlatCortex:
        """Read the maps of both hemispheres, and choose the side of the squares.

        It is the largest in steps of 0.5 mm with which no square holds more than `most` of all
        vertices of the maps, whichever of them have data.

        Parameters
        ----------
        files : mapping of str to Path
            By structure, ``CORTEX_LEFT`` and ``CORTEX_RIGHT``.
        most : int

        Raises
        ------
        VolumeError
            A file cannot be read, or holds no flat map.
        CohortError
            A file is of the other hemisphere.
        InputError
            More than `most` vertices lie in a square of 0.5 mm.
        """
        maps = {name: _read_map(name, file) for name, file in files.items()}
        places = {}
        for name, xy in maps.items():
            left = name == "CORTEX_LEFT"
            edge = np.nanmax(xy[:, 0]) if left else np.nanmin(xy[:, 0])
            shift = -edge + (-_BESIDE_MM if left else _BESIDE_MM)
            places[name] = xy + np.array([shift, 0.0])
        lowest = min(float(np.nanmin(xy[:, 1])) for xy in maps.values())
        return cls(places, square_side(places, most), lowest - _BELOW_MM)

    def squares(
        self, structure: Structure, inside: npt.NDArray[np.int64]
    ) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the members of each square that holds some, in columns from left to right.

        Parameters
        ----------
        structure : Structure
            Of the cortex.
        inside : ndarray, (n,) int64
            Locations with data, counted within the structure. Those without a place are left out.
        """
        assert structure.vertices is not None
        places = self.places[structure.name]
        xy = places[structure.vertices[inside]]
        placed = np.isfinite(xy[:, 0])
        found = inside[placed]
        cells = _cells(xy[placed], self.side, np.nanmin(places, axis=0))
        _, of = np.unique(cells, axis=0, return_inverse=True)
        of = of.reshape(-1)  # NumPy 2.0 gives (n, 1)
        order = np.argsort(of, kind="stable")
        edges = np.flatnonzero(np.diff(of[order])) + 1
        if len(found):
            yield from np.split(found[order], edges)

    def center(self, structure: Structure, members: npt.NDArray[np.int64]) -> Array:
        """Return the mean position of the vertices of a square, (3,), z = 0, mm.

        Subcortical positions are anatomical ones below the maps.
        """
        if structure.vertices is not None:
            x, y = self.places[structure.name][structure.vertices[members]].mean(axis=0)
            return np.array([x, y, 0.0])
        assert structure.voxels is not None
        assert structure.affine is not None
        middle = structure.affine[:3, :3] @ structure.voxels[members].mean(axis=0)
        return np.asarray(middle + structure.affine[:3, 3] + np.array([0.0, self.below, 0.0]))


def square_side(maps: Mapping[str, Array], most: int) -> float:
    """Return the largest side in steps of 0.5 mm with at most `most` vertices in every square.

    Parameters
    ----------
    maps : mapping of str to ndarray, (n, 2) float64
        Positions, mm; NaN for vertices without one.
    most : int

    Raises
    ------
    InputError
        Squares of 0.5 mm hold more.
    """
    placed = [xy[np.isfinite(xy[:, 0])] for xy in maps.values()]
    widest = max(float(np.ptp(xy, axis=0).max()) for xy in placed)
    for step in range(int(widest / _STEP_MM) + 1, 0, -1):
        side = step * _STEP_MM
        if all(_most(xy, side, most) <= most for xy in placed):
            return side
    raise InputError(
        f"LayoutSpec: patch must be larger than {most} for these flat maps, on which more vertices "
        f"lie within {_STEP_MM} mm."
    )


def _most(xy: Array, side: float, most: int) -> int:
    """Count the vertices of the fullest square; `most` + 1 where the mean alone is above it."""
    columns = np.floor(np.ptp(xy, axis=0) / side).astype(np.int64) + 1
    if len(xy) > most * columns.prod():
        return most + 1
    cells = _cells(xy, side, xy.min(axis=0))
    return int(np.bincount(cells[:, 0] * columns[1] + cells[:, 1]).max())


def _cells(xy: Array, side: float, corner: Array) -> npt.NDArray[np.int64]:
    return np.floor((xy - corner) / side).astype(np.int64)


def _read_map(name: str, path: Path) -> Array:
    """Read a flat map: positions (n, 2) in mm, NaN for the vertices of no triangle."""
    named = structure_of(path)
    if named not in ("", name):
        raise CohortError(
            f"layout: the flat maps must be the left and then the right one, got {named} in "
            f"{path} for {name}."
        )
    xyz, triangles = read_mesh(path)
    used = np.unique(triangles)
    width, height, depth = np.ptp(xyz[used], axis=0)
    if not depth <= _LEVEL * min(width, height):
        raise VolumeError(
            f"load: {path} must be a flat map in the plane of x and y, got a surface of "
            f"{width:.0f} x {height:.0f} x {depth:.0f} mm. Name *.flat.*.surf.gii."
        )
    places = np.full((len(xyz), 2), np.nan)
    places[used] = xyz[used, :2]
    return places
