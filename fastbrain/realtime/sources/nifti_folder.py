"""NIfTI files of one volume each in a folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...data.readers.findings import refuse
from ...data.readers.header_checks import check_storage, repetition_time
from ...data.readers.nifti import NiftiFile, file_errors, open_nifti
from ...data.readers.orientation import image_affine
from ...data.readers.scaling import image_scaling, scale_values
from ...errors import InputError, VolumeError
from ..volume import BadVolume, Volume
from .folder import Item, Unfinished, refusal

_SUFFIXES = (".nii", ".nii.gz")
_MAX_BYTES = 256 << 20
_NUMBER = re.compile(r"(\d+)\D*$")


class NiftiReader:
    """Reads files of one volume; the last number in a name is that of the volume.

    Parameters
    ----------
    first : int or None
        Number in the name of the first volume of a run. Without it: 0 if a file with this number is
        there at first or arrives first, otherwise 1.
    """

    def __init__(self, *, first: int | None) -> None:
        self._first = first
        self._shape: tuple[Any, ...] | None = None

    def wanted(self, name: str) -> bool:
        """Whether a name is that of a NIfTI image."""
        return name.lower().endswith(_SUFFIXES)

    def order(self, folder: Path, names: list[str]) -> Iterator[list[str] | None]:
        """Sort names by their number."""
        numbers = {name: _number(name) for name in names}
        known = [number for number in numbers.values() if number is not None]
        if self._first is None and known:
            self._first = 0 if 0 in known else 1
        yield sorted(names, key=lambda name: (numbers[name] is None, numbers[name] or 0, name))

    def read(self, path: Path, now: float) -> list[Item] | Unfinished:
        """Return the volume in a file if all its bytes are there."""
        number = _number(path.name)
        if number is None:
            return [BadVolume(None, "The name of a file has no number of its volume.", now)]
        if self._first is None:
            self._first = 0 if number == 0 else 1
        index = number - self._first
        if index < 0:
            reason = f"A file has number {number}, below {self._first}, that of the first volume."
            return [BadVolume(None, reason, now)]
        size = path.stat().st_size
        try:
            image = open_nifti(path, axes=3)
            refuse(path, check_storage(image, max_bytes=_MAX_BYTES))
            data = _intensities(image)
        except VolumeError as error:
            # a part of a file may look like any damage; the next look is at a longer one
            return Unfinished(size + 1, refusal(error, path), index)
        return [self._volume(index, data, image, now)]

    def _volume(self, index: int, data: npt.NDArray[Any], image: NiftiFile, now: float) -> Item:
        shape = (data.shape, data.dtype)
        self._shape = self._shape or shape
        if shape != self._shape:
            was = f"the first one had {self._shape[0]} and {self._shape[1]}"
            reason = f"A volume has shape {data.shape} and type {data.dtype}; {was}."
            return BadVolume(index, reason, now)
        affine, _ = image_affine(image)
        # headers of three axes hold 1 where the time would be
        timed = len(image.stored_dims) > 3
        seconds = repetition_time(image, None)[0] if timed else np.nan
        try:
            return Volume(
                index=index,
                data=data,
                affine=affine,
                acquired_s=None,
                completed_s=now,
                tr_s=float(seconds) if np.isfinite(seconds) else None,
            )
        except InputError as error:
            return BadVolume(index, str(error), now)

    def overdue(self, before: float | None, index: int | None, now: float) -> list[BadVolume]:
        """Return nothing: a volume is one file."""
        return []

    def close(self) -> None:
        """Do nothing."""


def _number(name: str) -> int | None:
    stem = name[: -len(".nii.gz")] if name.lower().endswith(".gz") else name[: -len(".nii")]
    found = _NUMBER.search(stem)
    return int(found[1]) if found is not None and len(found[1]) <= 9 else None


def _intensities(image: NiftiFile) -> npt.NDArray[Any]:
    """Read voxels as int16 where they are stored so, otherwise as float32, (Z, Y, X)."""
    slope, inter, _ = image_scaling(image)
    stored = image.read() if image.packed else _read(image)
    kind = image.known_dtype.newbyteorder("=")
    if slope == 1 and inter == 0 and kind in (np.int16, np.int8, np.uint8):
        return np.array(stored, dtype=np.int16, order="C")
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(scale_values(stored, slope, inter, np.float32))


def _read(image: NiftiFile) -> npt.NDArray[Any]:
    """Read voxels without a memory map: a file that shrinks under one ends the process."""
    with file_errors(image.data), open(image.data, "rb") as file:
        file.seek(int(image.field("vox_offset")))
        block = file.read(image.nbytes)
    if len(block) < image.nbytes:
        raise VolumeError(f"load: {image.data} is truncated.")
    return np.frombuffer(block, image.known_dtype).reshape(image.dims[::-1])
