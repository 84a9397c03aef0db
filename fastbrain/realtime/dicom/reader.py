"""One DICOM file to one volume."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._arguments import checked
from ...errors import InputError, VolumeError
from ..volume import MonotonicClock, Volume
from .completeness import Incomplete, read_header
from .elements import require_pydicom
from .enhanced import read_frames
from .geometry import Array, slice_step, stack_affine
from .header import MAX_BYTES, ORIENTATION, POSITION, SPACING, THICKNESS, Header
from .mosaic import split_mosaic
from .pixels import intensities, rescale, stored_values

_HEADER_BYTES = 32 << 20  # the largest headers, of enhanced images, have some MB


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels, place and times of a complete file that holds a whole volume.

    Parameters
    ----------
    acquired : float or None
        Time of day of the acquisition, seconds.
    """

    index: int
    data: npt.NDArray[Any]
    affine: Array
    tr_s: float | None
    acquired: float | None


def file_bytes(path: Path) -> bytes:
    """Read a file at once, so that all that is decided on belongs to one state of it."""
    most = MAX_BYTES + _HEADER_BYTES
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise VolumeError(f"a file must have at most {most >> 20} MiB, got {size >> 20}.")
        return file.read(size)


def whole_volume(header: Header, data: bytes) -> Image:
    """Decode a mosaic or an enhanced image.

    Raises
    ------
    VolumeError
        The image cannot be decoded; the message holds no value of a text field.
    """
    index = header.volume_index
    if index is None or index < 0:
        raise VolumeError("InstanceNumber (0020,0013) must be 1 or more. Export the series again.")
    stored = stored_values(header, data)
    if header.kind == "mosaic":
        volume, affine = split_mosaic(header, stored)
        slopes = [rescale(header.elements)]
        tr_s, acquired = header.tr_s, header.acquired
    else:
        frames = read_frames(header)
        volume, affine, slopes = stored[frames.order], frames.affine, frames.slopes
        tr_s, acquired = frames.tr_s, frames.acquired
    return Image(
        index=index,
        data=intensities(volume, header, slopes),
        affine=affine,
        tr_s=plausible_tr(tr_s),
        acquired=acquired,
    )


def plausible_tr(tr_s: float | None) -> float | None:
    """Return a repetition time that can be one, otherwise None."""
    return tr_s if tr_s is not None and 0 < tr_s <= 60 else None


@checked(error=VolumeError)
def read_dicom(path: str | Path) -> Volume:
    """Read one DICOM file that holds a whole volume, in memory.

    Siemens mosaics and enhanced multi-frame images (Siemens XA, one volume a file) are read. Slices
    in a file each are put together by the source ``dicom:FOLDER``; here a single slice is a volume
    of one slice.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Volume
        `index` is the InstanceNumber less 1; `acquired_s` is None, because one file does not tell
        when its run began. No field about the patient is read.

    Raises
    ------
    VolumeError
        The file is missing, incomplete, compressed in a way that pydicom cannot decode, or not an
        MR image; the message names the file.
    MissingPartError
        pydicom is not installed.
    """
    require_pydicom()
    path = Path(path)
    try:
        data = file_bytes(path)
        header = read_header(data)
        if header is None:
            raise VolumeError("SOPClassUID (0008,0016) must be that of an MR image.")
        if isinstance(header, Incomplete):
            raise VolumeError(
                f"the file must be complete, got {len(data)} of at least {header.needed} bytes. "
                "Read it again when it is written."
            )
        image = (
            _single_slice(header, data) if header.kind == "slice" else whole_volume(header, data)
        )
        return as_volume(image, None, MonotonicClock().now())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise VolumeError(f"read_dicom: {path}: {reason}") from None


def _single_slice(header: Header, data: bytes) -> Image:
    own = header.elements
    orientation = own.vector(ORIENTATION, 6)
    position = own.vector(POSITION, 3)
    step = slice_step(position[None], orientation, own.number(THICKNESS))
    return Image(
        index=max(0, header.volume_index or 0),
        data=intensities(stored_values(header, data), header, [rescale(own)]),
        affine=stack_affine(position, step, orientation, own.vector(SPACING, 2)),
        tr_s=plausible_tr(header.tr_s),
        acquired=header.acquired,
    )


def as_volume(image: Image, acquired_s: float | None, completed_s: float) -> Volume:
    """Make a checked volume of an image."""
    try:
        return Volume(
            index=image.index,
            data=image.data,
            affine=np.asarray(image.affine, dtype=np.float64),
            acquired_s=acquired_s,
            completed_s=completed_s,
            tr_s=image.tr_s,
        )
    except InputError as error:
        raise VolumeError(str(error)) from None
