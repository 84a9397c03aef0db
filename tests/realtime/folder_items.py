"""What a folder as a source gives, and files to put into it."""

from __future__ import annotations

import make_dicom
import nibabel as nib
import numpy as np

from fastbrain.realtime import BadVolume, Volume


def take(source, count: int, most: int = 2000) -> list[Volume | BadVolume]:
    """The next `count` items of a source, or fewer if no more come in `most` looks."""
    found: list[Volume | BadVolume] = []
    for item in source:
        most -= 1
        if item is not None:
            found.append(item)
        if len(found) == count or most == 0:
            return found
    return found


def rest(source, looks: int = 20) -> list[Volume | BadVolume]:
    """What comes in some looks more."""
    return take(source, 10**6, looks)


def indices(items) -> list[int | None]:
    return [item.index for item in items]


def volume(index: int) -> np.ndarray:
    return make_dicom.voxels(seed=index)


def nifti(path, data: np.ndarray) -> bytes:
    """Write an image and return its bytes."""
    nib.save(nib.Nifti1Image(data.transpose(2, 1, 0), np.diag([2.0, 2, 3, 1])), path)
    return path.read_bytes()
