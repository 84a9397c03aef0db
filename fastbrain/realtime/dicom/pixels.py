"""Pixel values: from stored bits to the intensities that the header defines (PS3.3 C.11.1)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import VolumeError
from .elements import Elements
from .header import INTERCEPT, NATIVE, SLOPE, Header

_SHORT_BITS = 15  # unsigned values of so many bits fit into int16


def stored_values(header: Header, data: bytes) -> npt.NDArray[Any]:
    """Return the stored values of a complete file.

    Returns
    -------
    ndarray, (frames, rows, columns) int16 or uint16
        In native byte order.

    Raises
    ------
    VolumeError
        The values are compressed in a way that pydicom cannot decode.
    """
    shape = (header.frames, header.rows, header.columns)
    if header.syntax not in NATIVE:
        return _decoded(data, header).reshape(shape)
    code = f"{'i' if header.signed else 'u'}{header.allocated // 8}"
    order = ">" if header.big_endian else "<"
    count = shape[0] * shape[1] * shape[2]
    values = np.frombuffer(data, np.dtype(order + code), count, header.pixels[0])
    wide = np.int16 if header.signed else np.uint16
    return _used_bits(values.astype(wide, copy=False), header).reshape(shape)


def _used_bits(values: npt.NDArray[Any], header: Header) -> npt.NDArray[Any]:
    """Drop what other programs kept in the unused high bits."""
    unused = 16 - header.bits
    if not unused:
        return values
    if header.signed:
        return np.right_shift(np.left_shift(values, unused), unused)
    return np.bitwise_and(values, np.uint16((1 << header.bits) - 1))


def _decoded(data: bytes, header: Header) -> npt.NDArray[Any]:
    from pydicom.pixels.utils import pixel_array

    try:
        values = np.asarray(pixel_array(io.BytesIO(data), raw=True))
    except Exception as error:  # of the plugins of pydicom too
        kind = type(error).__name__
    else:
        expected = header.frames * header.rows * header.columns
        if values.size == expected and values.dtype.kind in "iu" and values.dtype.itemsize <= 2:
            return values.astype(np.int16 if header.signed else np.uint16)
        kind = f"{values.dtype} array of {values.shape}"
    raise VolumeError(
        f"pixel data of transfer syntax {header.syntax[:40]} must be decodable by pydicom, got a "
        f"{kind}. Let the scanner export uncompressed DICOM, or install pylibjpeg with "
        "its plugins."
    )


def rescale(own: Elements) -> tuple[float, float]:
    """Read slope and intercept: intensity = slope · stored + intercept; 1 and 0 if absent."""
    slope, intercept = own.number(SLOPE), own.number(INTERCEPT)
    if slope == 0:
        raise VolumeError("RescaleSlope (0028,1053) must not be 0. Export the series again.")
    return 1.0 if slope is None else slope, 0.0 if intercept is None else intercept


def intensities(
    stored: npt.NDArray[Any], header: Header, slopes: list[tuple[float, float]]
) -> npt.NDArray[Any]:
    """Scale stored values.

    The type depends on the header alone, so that all volumes of a run have the same: int16 if the
    values are not scaled and all values of so many bits fit, otherwise float32, which holds 16 bits
    exactly.

    Parameters
    ----------
    stored : ndarray, (Z, Y, X) int16 or uint16
    header : Header
    slopes : list of tuple of 2 float
        Slope and intercept of each slice, or of all.

    Returns
    -------
    ndarray, (Z, Y, X) int16 or float32
        C-contiguous.
    """
    plain = all(pair == (1.0, 0.0) for pair in slopes)
    if plain and (header.signed or header.bits <= _SHORT_BITS):
        data = np.ascontiguousarray(stored, dtype=np.int16)
        # a view of the bytes of the file cannot be written to
        return data if data.flags.writeable else data.copy()
    values = np.ascontiguousarray(stored, dtype=np.float32)
    if not plain:
        scale = np.array(slopes, dtype=np.float32)
        # slopes beyond float32 become infinite and raise below
        with np.errstate(over="ignore", invalid="ignore"):
            values *= scale[:, 0, None, None]
            values += scale[:, 1, None, None]
        if not np.isfinite(scale).all() or not np.isfinite(values).all():
            raise VolumeError("rescaled values must be finite. Export the series again.")
    return values
