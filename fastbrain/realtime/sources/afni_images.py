"""The stream of images that AFNI's real-time plugin reads (AFNI's README.realtime).

Text commands, one a line and ended by a zero byte, describe the images; the images follow without
any header. Dimon and rtfeedme send this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError

MOST_BYTES = 64 << 20  # of one message
MARKER = b"Et Earello Endorenna utulien!!"  # in place of an image: the run is over

# direction in which a coordinate of the letter's side grows, in right, anterior, superior
_AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_TYPES = {"short": "i2", "float": "f4", "byte": "u1"}
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, eq=False)
class ImageLayout:
    """How the bytes of a volume are laid out, and where it lies.

    Parameters
    ----------
    shape : tuple of 3 int
        (Z, Y, X).
    dtype : dtype
        As sent.
    order : tuple of int
        Slice that each of the Z images is.
    affine : ndarray, (4, 4) float64
        Voxel (x, y, z) to world mm, RAS+.
    tr_s : float or None
        Repetition time, seconds.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    order: tuple[int, ...]
    affine: npt.NDArray[np.float64]
    tr_s: float | None

    @property
    def nbytes(self) -> int:
        """Bytes of a volume."""
        z, y, x = self.shape
        return z * y * x * self.dtype.itemsize

    def decode(self, block: bytes) -> npt.NDArray[Any]:
        """Return the voxels of one volume, (Z, Y, X) int16 or float32."""
        sent = np.frombuffer(block, self.dtype).reshape(self.shape)
        data = np.empty(self.shape, np.float32 if self.dtype.kind == "f" else np.int16)
        data[list(self.order)] = sent
        return data


def read_commands(text: str) -> ImageLayout:
    """Read the commands in front of the images.

    Raises
    ------
    VolumeError
        A command is missing, or asks for something that is not served.
    """
    found: dict[str, list[str]] = {}
    for line in text.replace("\r", "\n").split("\n"):
        words = line.split()
        if words:
            found[words[0].upper()] = words[1:]
    if _word(found, "NUM_CHAN", "1") != "1":
        raise VolumeError("NUM_CHAN must be 1: one series of volumes is read.")
    sizes = [_whole(word, "XYMATRIX") for word in found.get("XYMATRIX", [])]
    if len(sizes) == 2 and "ZNUM" in found:
        sizes.append(_whole(_word(found, "ZNUM", ""), "ZNUM"))
    if len(sizes) != 3:
        raise VolumeError("XYMATRIX must state the size of images, and it or ZNUM their number.")
    datum = _word(found, "DATUM", "short").lower()
    if datum not in _TYPES:
        raise VolumeError(f"DATUM must be one of {', '.join(_TYPES)}, got {datum[:20]!r}.")
    swapped = _word(found, "BYTEORDER", "LSB_FIRST").upper() == "MSB_FIRST"
    dtype = np.dtype((">" if swapped else "<") + _TYPES[datum])
    x, y, z = sizes
    if x * y * z * dtype.itemsize > MOST_BYTES:
        raise VolumeError(f"a volume must have at most {MOST_BYTES >> 20} MiB, got {x}x{y}x{z}.")
    tr_s = _number(_word(found, "TR", "0"), "TR")
    return ImageLayout(
        shape=(z, y, x),
        dtype=dtype,
        order=_slice_order(found, z),
        affine=_affine(found, (x, y, z)),
        tr_s=tr_s if 0 < tr_s <= 60 else None,
    )


def _slice_order(found: dict[str, list[str]], z: int) -> tuple[int, ...]:
    kind = _word(found, "ACQUISITION_TYPE", "2D+zt").upper()
    if kind not in ("2D+Z", "2D+ZT", "3D", "3D+T"):
        raise VolumeError("ACQUISITION_TYPE must be 2D+zt or 3D+t.")
    if kind.startswith("3D") or _word(found, "ZORDER", "alt").lower() == "seq":
        return tuple(range(z))
    return (*range(0, z, 2), *range(1, z, 2))


def _affine(found: dict[str, list[str]], sizes: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Compute voxel to world from the oblique matrix if it is sent, else from axes and sizes."""
    if "OBLIQUE_XFORM" in found:
        words = found["OBLIQUE_XFORM"]
        if len(words) != 16:
            raise VolumeError(f"OBLIQUE_XFORM must hold 16 numbers, got {len(words)}.")
        matrix = np.array([_number(word, "OBLIQUE_XFORM") for word in words]).reshape(4, 4)
        matrix[3] = 0, 0, 0, 1
        return _LPS_TO_RAS @ matrix
    codes = [word.replace("-", "").upper() for word in found.get("XYZAXES", [])]
    sides = [code[:1] for code in codes]
    if len(codes) != 3 or any(
        len(code) != 2
        or not set(code) <= set(_AXES)
        or _AXES[code[0]][0] != _AXES[code[1]][0]
        or code[0] == code[1]
        for code in codes
    ):
        raise VolumeError("XYZAXES must hold three directions like R-L A-P I-S.")
    if len({_AXES[side][0] for side in sides}) != 3:
        raise VolumeError("XYZAXES must hold three different directions.")
    steps = _voxel_sizes(found, sizes)
    first = found.get("XYZFIRST", [])
    if "ZFIRST" in found:
        first = [*(first[:2] or ["", ""]), *found["ZFIRST"][:1]]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (side, step) in enumerate(zip(sides, steps, strict=True)):
        row, sign = _AXES[side]
        # an axis starts at the side of its first letter and runs away from it
        affine[row, axis] = -sign * step
        word = first[axis] if axis < len(first) else ""
        affine[row, 3] = _origin(word, side) if word else sign * step * (sizes[axis] - 1) / 2
    return affine


def _origin(word: str, side: str) -> float:
    """Return the coordinate of the first voxel along its axis, mm in RAS."""
    letter = word[-1].upper()
    if letter in _AXES:
        if _AXES[letter][0] != _AXES[side][0]:
            raise VolumeError("XYZFIRST must name sides of its axes.")
        return _AXES[letter][1] * _number(word[:-1], "XYZFIRST")
    return _AXES[side][1] * _number(word, "XYZFIRST")


def _voxel_sizes(found: dict[str, list[str]], sizes: tuple[int, ...]) -> list[float]:
    fields = [_number(word, "XYFOV") for word in found.get("XYFOV", [])][:3]
    if len(fields) < 2:
        raise VolumeError("XYFOV must hold the size of images in mm.")
    fields[1] = fields[1] or fields[0]
    steps = [field / n for field, n in zip(fields, sizes, strict=False)]
    if "ZDELTA" in found:
        steps = [*steps[:2], _number(_word(found, "ZDELTA", "0"), "ZDELTA")]
    if len(steps) != 3 or min(steps) <= 0:
        raise VolumeError("XYFOV and ZDELTA must give three voxel sizes above 0 mm.")
    return steps


def _word(found: dict[str, list[str]], command: str, default: str) -> str:
    return next(iter(found.get(command, [])), default)


def _whole(word: str, command: str) -> int:
    if not (word.isascii() and word.isdigit() and len(word) <= 5 and int(word) >= 1):
        raise VolumeError(f"{command} must hold whole numbers of 1 or more, got {word[:20]!r}.")
    return int(word)


def _number(word: str, command: str) -> float:
    try:
        value = float(word)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e6:
        raise VolumeError(f"{command} must hold numbers below a million, got {word[:20]!r}.")
    return value
