"""What AFNI sends: commands, images, a mask, and bytes that only look like them."""

from __future__ import annotations

import struct

import nibabel as nib
import numpy as np
import pytest

from fastbrain.realtime.sources import afni_images

COMMANDS = {
    "ACQUISITION_TYPE": "3D+t",
    "TR": "1.5",
    "XYFOV": "14.0 18.0 20.0",
    "XYMATRIX": "7 6 5",
    "XYZAXES": "R-L A-P I-S",
    "XYZFIRST": "10R 20A 30I",
    "DATUM": "short",
}
MARKER = afni_images.MARKER


def header(**changes: str | None) -> bytes:
    lines = {**COMMANDS, **changes}
    return "\n".join(f"{k} {v}" for k, v in lines.items() if v is not None).encode() + b"\0"


def images(count: int, dtype="<i2") -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 200, (5, 6, 7)).astype(dtype) for _ in range(count)]


@pytest.fixture
def brain_mask(tmp_path):
    voxels = np.random.default_rng(1).random((7, 6, 5)) < 0.4
    nib.save(nib.Nifti1Image(voxels.astype(np.uint8), np.diag([2.0, 3, 4, 1])), tmp_path / "m.nii")
    return tmp_path / "m.nii", voxels.transpose(2, 1, 0)


def fuzzed(rng: np.random.Generator) -> bytes:
    """Bytes that look like one of the streams in some part."""
    count = int(rng.integers(0, 40))
    begins = [
        b"\xab\xcd\xef" + bytes([int(rng.integers(256))]),
        b"\xab\xcd\xef\xae" + struct.pack("<i", int(rng.integers(-(2**31), 2**31))),
        b"\xab\xcd\xef\xae" + struct.pack("<i", 81),
        header(),
        header(XYMATRIX=f"{rng.integers(0, 99999)} {rng.integers(0, 99999)} 99"),
        b"tcp:x:" + str(int(rng.integers(0, 99999))).encode() + b"\0",
        b"\x80\4\x95c__builtin__\nexit\n(tR.",  # a pickle
        b"",
    ]
    data = bytearray(begins[rng.integers(len(begins))] + rng.bytes(count))
    for _ in range(int(rng.integers(0, 4))):
        if data:
            at = int(rng.integers(len(data)))
            match rng.integers(3):
                case 0:
                    data[at] = int(rng.integers(256))
                case 1:
                    del data[at : at + int(rng.integers(1, 9))]
                case _:
                    data[at:at] = b"\0" * int(rng.integers(1, 9))
    return bytes(data)
