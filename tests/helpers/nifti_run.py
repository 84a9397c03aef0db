"""A small run as a NIfTI image, and an editor of its header that repairs nothing."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SHAPE = (6, 4, 5, 3)  # T, Z, Y, X
AFFINE = np.diag([-2.0, 2.0, 2.5, 1.0])


def image(dtype=np.int16, *, tr=2.0, unit="sec", shape=SHAPE, kind=nib.Nifti1Image):
    """An image of ascending values, and the values (T, Z, Y, X)."""
    stored = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    made = kind(stored.T, AFFINE)
    made.header.set_xyzt_units("mm", unit)
    made.header["pixdim"][4] = tr
    return made, stored


def edit(path: Path, **fields) -> Path:
    """Overwrite header fields of an uncompressed NIfTI-1 file in place."""
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for name, value in fields.items():
        if isinstance(value, dict):
            for index, entry in value.items():
                header[name][index] = entry
        else:
            header[name] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """An uncompressed run."""
    made, _ = image()
    nib.save(made, tmp_path / "bold.nii")
    return tmp_path / "bold.nii"
