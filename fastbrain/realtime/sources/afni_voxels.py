"""What AFNI's real-time plugin sends on for each volume: motion, and the voxels of a mask.

The plugin connects to the address in ``AFNI_REALTIME_MP_HOST_PORT`` once a run. It sends the bytes
AB CD EF and one for the version, the number of values, for each volume six numbers of motion and
the values, and at the end DE AD DE AD. Numbers are 32 bits, little endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.readers.findings import refuse
from ...data.readers.header_checks import check_storage
from ...data.readers.nifti import open_nifti
from ...data.readers.orientation import image_affine
from ...errors import VolumeError
from .afni_images import MOST_BYTES

HELLO, BYE = b"\xab\xcd\xef", b"\xde\xad\xde\xad"
_FIRST_VERSION = 0xAB
_ALL_DATA, _LIGHT = 2, 3  # versions with the voxels of the mask
_PER_VOXEL = 8  # of version 2: index, i, j, k, x, y, z, value
_MOTION = 6


@dataclass(frozen=True, eq=False)
class Mask:
    """The voxels that the plugin sends, and their place.

    Parameters
    ----------
    voxels : ndarray, (Z, Y, X) bool
    affine : ndarray, (4, 4) float64
    """

    voxels: npt.NDArray[np.bool_]
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class VoxelLayout:
    """What a volume of a run consists of."""

    mask: Mask
    columns: int

    @property
    def nbytes(self) -> int:
        """Bytes of a volume."""
        return 4 * (_MOTION + self.columns * int(self.mask.voxels.sum()))

    def decode(self, block: bytes) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        """Return voxels, 0 outside the mask, and motion.

        Returns
        -------
        ndarray, (Z, Y, X) float32
        ndarray, (6,) float64
            Translation in mm and rotation in radians about x, y, z.
        """
        values = np.frombuffer(block, "<f4")
        data = np.zeros(self.mask.voxels.shape, np.float32)
        data[self.mask.voxels] = values[_MOTION:].reshape(-1, self.columns)[:, -1]
        superior, left, posterior, roll, pitch, yaw = values[:_MOTION].astype(np.float64)
        # roll, pitch and yaw are degrees about the axes to superior, left and posterior
        turns = np.deg2rad([-pitch, -yaw, roll])
        return data, np.array([-left, -posterior, superior, *turns])


def read_mask_image(path: Path) -> Mask:
    """Read the mask that the plugin was given; voxels that are not 0 belong to it.

    Raises
    ------
    VolumeError
        The image is invalid or has no voxel.
    """
    image = open_nifti(path, axes=3)
    refuse(path, check_storage(image, max_bytes=MOST_BYTES))
    stored: npt.NDArray[Any] = image.read()
    voxels = np.array(stored != 0)
    if not voxels.any():
        raise VolumeError(f"open_source: {path} must hold voxels that are not 0. Pass the mask.")
    return Mask(voxels, image_affine(image)[0])


def read_hello(head: bytes, mask: Mask | None) -> tuple[VoxelLayout, int] | None:
    """Read the beginning of a run.

    Parameters
    ----------
    head : bytes
        What has arrived; it starts with :data:`HELLO`.
    mask : Mask or None

    Returns
    -------
    tuple of VoxelLayout and int, or None
        The layout and the number of bytes that were read; None if more bytes are needed.

    Raises
    ------
    VolumeError
        The run has no voxels, or others than those of the mask.
    """
    if len(head) < 4:
        return None
    version = head[3] - _FIRST_VERSION
    if version not in (_ALL_DATA, _LIGHT):
        raise VolumeError(
            f"AFNI must send the voxels of its mask, got version {version} of its messages. Set "
            "AFNI_REALTIME_Mask_Vals=All_Data_light and a mask."
        )
    if len(head) < 8:
        return None
    count = struct.unpack("<i", head[4:8])[0]
    if mask is None:
        raise VolumeError("the place of voxels must be known: pass the plugin's mask as mask=.")
    expected = int(mask.voxels.sum())
    if count != expected:
        raise VolumeError(
            f"AFNI must send the {expected} voxels of mask=, got {count}. Pass the mask that the "
            "plugin was given."
        )
    return VoxelLayout(mask, _PER_VOXEL if version == _ALL_DATA else 1), 8
