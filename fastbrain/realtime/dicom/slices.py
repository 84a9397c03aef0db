"""Volumes of which each slice is a file, as GE and Philips export them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .geometry import Array, normal, slice_step, stack_affine
from .header import ORIENTATION, POSITION, SPACING, TEMPORAL, THICKNESS, Header
from .pixels import intensities, rescale, stored_values

_ROUNDED = 1e-5  # orientations of the slices of a volume may differ by this


@dataclass(frozen=True, eq=False)
class Slice:
    """One slice of a volume.

    Parameters
    ----------
    index : int
        Number of the volume in its run, from 0.
    expected : int
        Number of slices in a volume.
    instance : int
        Number of the image in its series; a slice that is sent twice has the same.
    """

    index: int
    expected: int
    instance: int
    header: Header
    stored: npt.NDArray[Any]
    position: Array
    orientation: Array
    spacing: Array
    scaling: tuple[float, float]


def read_slice(header: Header, data: bytes, expected: int | None) -> Slice:
    """Read one slice; `expected` replaces the number of slices of the header.

    Raises
    ------
    VolumeError
        The header does not state the volume, its number of slices, or its place.
    """
    own = header.elements
    expected = expected or header.slices
    if expected is None:
        raise VolumeError(
            "the number of slices of a volume must be in the header (ImagesInAcquisition, or "
            "private fields of Philips or GE), got none. Pass slices=."
        )
    temporal = own.integer(TEMPORAL)
    index = None if temporal is None else temporal - 1
    if index is None and header.instance is not None:
        index = (header.instance - 1) // expected
    if index is None or index < 0 or header.instance is None:
        raise VolumeError(
            "InstanceNumber (0020,0013) or TemporalPositionIdentifier (0020,0100) must be 1 or "
            "more. Export the series again."
        )
    return Slice(
        index=index,
        expected=expected,
        instance=header.instance,
        header=header,
        stored=stored_values(header, data)[0],
        position=own.vector(POSITION, 3),
        orientation=own.vector(ORIENTATION, 6),
        spacing=own.vector(SPACING, 2),
        scaling=rescale(own),
    )


@dataclass
class OpenVolume:
    """A volume of which not all slices have arrived.

    Parameters
    ----------
    since : float
        Reading of the clock when its newest slice arrived, seconds.
    """

    since: float
    slices: dict[int, Slice] = field(default_factory=dict)

    def add(self, part: Slice, now: float) -> bool:
        """Add a slice; return whether the volume is complete."""
        self.since = now
        self.slices[part.instance] = part
        return len(self.slices) >= part.expected

    def stack(self) -> tuple[npt.NDArray[Any], Array]:
        """Stack the slices by their position.

        Returns
        -------
        ndarray, (Z, Y, X) int16 or float32
        ndarray, (4, 4) float64
            Voxel (x, y, z) to world mm.

        Raises
        ------
        VolumeError
            The slices are not one stack.
        """
        parts = [self.slices[i] for i in sorted(self.slices)]
        first = parts[0]
        for part in parts:
            if part.stored.shape != first.stored.shape or part.header.bits != first.header.bits:
                raise VolumeError("slices of a volume must have one size and type.")
            if float(np.abs(part.orientation - first.orientation).max()) > _ROUNDED:
                raise VolumeError("slices of a volume must be parallel.")
        positions = np.array([part.position for part in parts])
        order = np.argsort(positions @ normal(first.orientation), kind="stable")
        thickness = first.header.elements.number(THICKNESS)
        step = slice_step(positions[order], first.orientation, thickness)
        stored = np.stack([parts[i].stored for i in order])
        data = intensities(stored, first.header, [parts[i].scaling for i in order])
        affine = stack_affine(positions[order[0]], step, first.orientation, first.spacing)
        return data, affine
