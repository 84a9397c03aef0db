"""Checks of arrays, and safe reading of ``.npy`` and ``.npz`` files, and their content.

The size in the header is compared with the size of the file before memory is allocated. Every
failure raises the error type of the caller, with the name of the file.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from .errors import FastbrainError, InputError

MAX_DEFLATE = 1032  # zlib cannot expand a byte to more (zlib technical details)

_HEADER_BYTES = 1 << 14  # NumPy accepts headers of up to 10,000 characters


def brain_of(
    values: npt.NDArray[Any], *, where: str, error: type[FastbrainError]
) -> npt.NDArray[np.bool_]:
    """Return the non-zero voxels of a mask; used for masks in files and in arrays.

    Parameters
    ----------
    values : ndarray, (Z, Y, X)
    where : str
        Function and argument, for the message.
    error : type of FastbrainError
        Type of the error raised if a value is negative, a fraction or not finite, or if the array
        is a masked array (`numpy.ma`).
    """
    if isinstance(values, np.ma.MaskedArray):
        raise error(f"{where} must be a plain array, got a masked one. Fill it.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise error(f"{where} must hold finite values only, got NaN or infinity. Is it a mask?")
    if values.dtype.kind == "f" and (values != np.rint(values)).any():
        raise error(
            f"{where} must hold whole numbers, got fractions. Choose a threshold, and give 1 for "
            "brain and 0 for the rest."
        )
    if values.dtype != bool and values.min(initial=0) < 0:
        raise error(
            f"{where} must hold no values below 0, got {values.min(initial=0):g}. Is it a mask? "
            "Its brain is 1, the rest 0."
        )
    return np.ascontiguousarray(values != 0)


def ending_in(values: Any, shape: tuple[int, ...], *, where: str) -> None:
    """Check that values are a plain NumPy array with a shape that ends in `shape`.

    Parameters
    ----------
    values : object
    shape : tuple of int
    where : str
        Function and argument, for the message.

    Raises
    ------
    InputError
        They are not: a masked array is no plain one, because its mask would be lost.
    """
    if not isinstance(values, np.ndarray) or isinstance(values, np.ma.MaskedArray):
        raise InputError(
            f"{where} must be a plain NumPy array, got {type(values).__name__}. "
            "Of a tensor on the CPU, pass tensor.numpy(); fill a masked array."
        )
    if values.shape[-len(shape) :] != shape:
        ending = ", ".join(map(str, shape))
        raise InputError(f"{where} must have shape (..., {ending}), got {values.shape}.")


@dataclass(frozen=True)
class _Header:
    """Header of a ``.npy`` file; `start` is the position of the first value."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(
    path: str | Path,
    *,
    where: str,
    error: type[FastbrainError],
    shape: tuple[int, ...] | None = None,
    dtype: npt.DTypeLike | None = None,
    mmap: bool = False,
) -> npt.NDArray[Any]:
    """Read a ``.npy`` file of numbers.

    Parameters
    ----------
    path : str or Path
    where : str
        Name of the calling function, for messages.
    error : type of FastbrainError
        Type of the error raised.
    shape : tuple of int, optional
        Shape the array must have.
    dtype : dtype, optional
        Data type the array must have, byte order included.
    mmap : bool
        Whether to return a read-only memory map.

    Returns
    -------
    ndarray

    Raises
    ------
    FastbrainError
        Of the kind `error`: the file cannot be read, holds objects, is shorter or longer than its
        header says, or has another shape or data type.
    """
    path = Path(path)
    with _errors(path, where, error), open(path, "rb") as file:
        header = _header(file.read(_HEADER_BYTES))
        problem = _misfit(header, path.stat().st_size) or _other(header, shape, dtype)
        if problem:
            raise error(f"{where}: {path} must {problem}. The file is damaged; make it again.")
        if mmap and header.nbytes:
            return np.memmap(
                path, header.dtype, "r", header.start, header.shape, "F" if header.fortran else "C"
            )
        file.seek(header.start)
        return _values(file, header)


def read_npz(
    path: str | Path, names: Sequence[str], *, where: str, error: type[FastbrainError]
) -> dict[str, npt.NDArray[Any]]:
    """Read arrays of a ``.npz`` file.

    Parameters
    ----------
    path : str or Path
    names : sequence of str
        Arrays to read.
    where : str
        Name of the calling function, for messages.
    error : type of FastbrainError
        Type of the error raised.

    Returns
    -------
    dict of str to ndarray

    Raises
    ------
    FastbrainError
        Of the kind `error`: the archive cannot be read, an array is absent, is larger than the
        archive can hold, or is not as long as its header says.
    """
    path = Path(path)
    found = {}
    with _errors(path, where, error), zipfile.ZipFile(path) as archive:
        problem = _overfull(archive, path.stat().st_size)
        if problem:
            raise error(f"{where}: {path} must {problem}. The file is damaged; make it again.")
        for name in names:
            member = archive.getinfo(f"{name}.npy")
            with archive.open(member) as file:
                head = file.read(_HEADER_BYTES)
                header = _header(head)
                problem = _misfit(header, member.file_size)
                if problem:
                    raise error(f"{where}: '{name}' of {path} must {problem}. Make the file again.")
                # to the end, where zipfile compares the checksum
                rest = file.read()
            found[name] = _values(io.BytesIO(head[header.start :] + rest), header)
    return found


def npy_bytes(array: npt.ArrayLike) -> bytes:
    """Return the content of an ``.npy`` file of an array of numbers."""
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


@contextmanager
def _errors(path: Path, where: str, error: type[FastbrainError]) -> Iterator[None]:
    try:
        yield
    except FastbrainError:
        raise
    except Exception as reason:
        # NumPy parses headers with the Python parser, and zipfile raises many types of error
        raise error(f"{where}: {path} must be readable, got '{reason}'.") from reason


def _overfull(archive: zipfile.ZipFile, size: int) -> str:
    """Describe why the sizes in an archive of `size` bytes are impossible, "" if they are not."""
    members = archive.infolist()
    packed = sum(m.compress_size for m in members)
    if packed > size:
        return f"be as long as its arrays, got {size} bytes for {packed}"
    for m in members:
        most = {zipfile.ZIP_STORED: 1, zipfile.ZIP_DEFLATED: MAX_DEFLATE}.get(m.compress_type, 0)
        if m.file_size > m.compress_size * most:
            return f"hold its arrays, got {m.filename}: {m.file_size} bytes from {m.compress_size}"
    return ""


def _header(head: bytes) -> _Header:
    """Read a ``.npy`` header from its first bytes; errors of NumPy are passed on."""
    file = io.BytesIO(head)
    version = np.lib.format.read_magic(file)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"version {version} of the format")
    shape, fortran, dtype = readers[version](file)
    return _Header(shape, dtype, fortran, file.tell())


def _misfit(header: _Header, size: int) -> str:
    """Describe why a header does not match a file of `size` bytes, "" if it does."""
    if header.dtype.kind not in "biufc" or min(header.shape, default=0) < 0:
        return f"hold numbers, got {header.dtype} of shape {header.shape}"
    if header.start + header.nbytes != size:
        wanted = f"{header.nbytes} bytes of {header.dtype} of shape {header.shape}"
        return f"hold {wanted}, got {size - header.start}"
    return ""


def _other(header: _Header, shape: tuple[int, ...] | None, dtype: npt.DTypeLike | None) -> str:
    """Describe why an array is not the one expected by the caller, "" if it is."""
    wanted = header.shape if shape is None else shape
    kind = header.dtype if dtype is None else np.dtype(dtype)
    if (header.shape, header.dtype) == (wanted, kind):
        return ""
    return f"be {kind} of shape {wanted}, got {header.dtype} of shape {header.shape}"


def _values(file: IO[bytes], header: _Header) -> npt.NDArray[Any]:
    flat = np.empty(math.prod(header.shape), header.dtype)
    got = file.readinto(flat.view(np.uint8).data)  # type: ignore[attr-defined]
    if got != header.nbytes:
        raise EOFError(f"{got} of {header.nbytes} bytes")
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
