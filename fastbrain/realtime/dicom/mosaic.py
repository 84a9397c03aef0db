"""Siemens mosaics: the slices of a volume side by side in one image.

The slices fill a square of tiles row by row; the position in the header is that of the mosaic as if
it were one slice (nibabel's documentation of DICOM describes both).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .csa import csa_texts
from .geometry import Array, directions, normal, stack_affine
from .header import ORIENTATION, POSITION, SPACING, SPACING_BETWEEN, THICKNESS, Header

_PARALLEL = 0.999  # cosine between the normal of the CSA header and that of the orientation


def split_mosaic(header: Header, stored: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Array]:
    """Cut a mosaic into slices.

    Parameters
    ----------
    header : Header
    stored : ndarray, (1, rows, columns)

    Returns
    -------
    ndarray, (Z, Y, X)
    ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm.
    """
    count, stated = _slices(header)
    tiles = math.isqrt(count - 1) + 1
    if header.rows % tiles or header.columns % tiles:
        raise VolumeError(
            f"a mosaic of {count} slices must be {tiles} tiles wide, got {header.rows} rows and "
            f"{header.columns} columns. Export the series again."
        )
    y, x = header.rows // tiles, header.columns // tiles
    volume = stored.reshape(tiles, y, tiles, x).swapaxes(1, 2).reshape(tiles * tiles, y, x)
    return volume[:count], _affine(header, (y, x), stated)


def _slices(header: Header) -> tuple[int, list[float] | None]:
    """Return the number of slices, and the normal of the slices if the CSA header states it."""
    count, stated = header.mosaic_images, None
    if header.csa is not None:
        texts = csa_texts(header.csa, ("NumberOfImagesInMosaic", "SliceNormalVector"))
        try:
            images = [int(text) for text in texts.get("NumberOfImagesInMosaic", [])]
            vector = [float(text) for text in texts.get("SliceNormalVector", [])]
        except ValueError:
            raise VolumeError("entries of the CSA header must be numbers. Export again.") from None
        count = images[0] if images else count
        stated = vector if len(vector) == 3 else None
    if count is None:
        raise VolumeError(
            "a mosaic must state its number of slices (0019,100A) or in its CSA header, got "
            "neither. Export without anonymising private fields, or as enhanced DICOM."
        )
    if not 1 <= count <= header.rows * header.columns:
        raise VolumeError(f"a mosaic must hold 1 slice or more, got {count}.")
    return count, stated


def _affine(header: Header, tile: tuple[int, int], stated: list[float] | None) -> Array:
    own = header.elements
    orientation, spacing = own.vector(ORIENTATION, 6), own.vector(SPACING, 2)
    row, column = (one.tolist() for one in directions(orientation))
    towards = normal(orientation).tolist()
    if stated is not None:
        cosine = sum(a * b for a, b in zip(towards, stated, strict=True))
        if not abs(cosine) > _PARALLEL:
            raise VolumeError(
                "SliceNormalVector of the CSA header must be at right angles to the slices, got "
                f"a cosine of {cosine:.3g}. Export the series again."
            )
        # the CSA header states in which of the two directions the tiles follow each other
        towards = towards if cosine > 0 else [-value for value in towards]
    thickness = own.number(SPACING_BETWEEN) or own.number(THICKNESS)
    if thickness is None:
        raise VolumeError("SpacingBetweenSlices (0018,0088) must be there. Export again.")
    y, x = tile
    between_rows, between_columns = spacing.tolist()
    # the position is that of the corner of an image as large as the mosaic with the same centre
    right, down = (
        between_columns * (header.columns - x) / 2,
        between_rows * (header.rows - y) / 2,
    )
    corner = [
        at + r * right + c * down
        for at, r, c in zip(own.vector(POSITION, 3).tolist(), row, column, strict=True)
    ]
    step = np.array([value * thickness for value in towards])
    return stack_affine(np.array(corner), step, orientation, spacing)
