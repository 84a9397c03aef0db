"""Read NIfTI files: header fields without repairs, voxels without copies.

nibabel parses the fields. Its repairs are not used, because a damaged field must be reported; its
lazy proxies are not used, because they take quadratic time to read a ``.nii.gz`` piecewise.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..._arrays import MAX_DEFLATE
from ...errors import VolumeError
from .gunzip import decoder, fill, open_gzip, rest_of

_HEADER_BYTES = 540  # NIfTI-2; NIfTI-1 uses the first 348
_TRAILING = 1 << 20  # largest accepted number of bytes after the voxels
_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".hdr.gz", ".img", ".img.gz")


@dataclass(frozen=True, eq=False)
class NiftiFile:
    """One image on disk; the header is read, the voxels are not.

    Parameters
    ----------
    path : Path
        The file with the header.
    data : Path
        The file with the voxels: the same file, or the ``.img`` of a pair.
    packed : bool
        Whether `data` is gzip-compressed.
    header : nibabel header
        Fields as stored, without repairs.
    axes : int
        3 for a volume, 4 for a run.
    """

    path: Path
    data: Path
    packed: bool
    header: Any
    axes: int

    @cached_property
    def stored_dims(self) -> tuple[int, ...]:
        """Sizes as stored in the header; empty if it states an impossible number of axes."""
        dim = [int(n) for n in self.header["dim"]]
        return tuple(dim[1 : 1 + dim[0]]) if 1 <= dim[0] <= 7 else ()

    @cached_property
    def dims(self) -> tuple[int, ...]:
        """Sizes along x, y, z (and t): beyond the third, axes of length 1 are dropped."""
        stored = self.stored_dims
        kept = stored[:3] + tuple(n for n in stored[3:] if n != 1)
        # a run of one volume
        return (*kept, 1) if len(kept) == 3 < self.axes <= len(stored) else kept

    @cached_property
    def volume_axis(self) -> int:
        """Axis of the volumes, counted from 1: 4, or the first later one if axis 4 has length 1."""
        long = [axis for axis, n in enumerate(self.stored_dims, 1) if axis > 3 and n != 1]
        return long[0] if long else 4

    @cached_property
    def dtype(self) -> np.dtype[Any] | None:
        """Stored data type with its byte order; None if it is not supported."""
        try:
            dtype = np.dtype(self.header.get_data_dtype())
        except (ValueError, KeyError, TypeError):
            return None
        except Exception as error:
            # nibabel's HeaderDataError derives directly from Exception
            if type(error).__module__.startswith("nibabel"):
                return None
            raise
        if dtype.kind not in "iuf" or dtype.itemsize > 8:
            return None
        return dtype

    @property
    def known_dtype(self) -> np.dtype[Any]:
        """Stored data type; raises :class:`VolumeError` if it is not supported."""
        if self.dtype is None:
            raise VolumeError(
                f"load: {self.path} datatype must be an integer or float up to 64 bit, got code "
                f"{self.field('datatype'):g}."
            )
        return self.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of voxels implied by the header."""
        count = 1
        for n in self.dims:
            count *= n
        return count * (self.dtype.itemsize if self.dtype is not None else 1)

    def field(self, name: str) -> float:
        """Return a scalar header field."""
        return float(np.asarray(self.header[name]))

    def read(self) -> npt.NDArray[Any]:
        """Read the voxels, with axes reversed to (..., Z, Y, X).

        Returns
        -------
        ndarray, (T, Z, Y, X) or (Z, Y, X), stored dtype
            Read-only; a view of a memory map if the file is not compressed.

        Raises
        ------
        VolumeError
            The file is shorter than its header implies, or its gzip stream is damaged.
        """
        flat: npt.NDArray[np.uint8]
        with file_errors(self.data):
            if self.packed:
                flat = np.empty(self.nbytes, dtype=np.uint8)
                with self._voxels() as file:
                    fill(file, flat)
                    _check_end(file, self)
                # callers share slices of this array, so that it must not change
                flat.flags.writeable = False
            else:
                flat = np.memmap(self.data, np.uint8, "r", self._offset, (self.nbytes,))
        return flat.view(self.known_dtype).reshape(self.dims[::-1])

    def volumes(self) -> Iterator[npt.NDArray[Any]]:
        """Read the volumes of a run one by one, so that the run is never in memory as a whole.

        Yields
        ------
        ndarray, (Z, Y, X), stored dtype
            Valid until the next one is read. The checksum of a gzip file is compared after the
            last one.

        Raises
        ------
        VolumeError
            As for :meth:`read`.
        """
        *space, count = self.dims
        volume = np.empty(self.nbytes // count, dtype=np.uint8)
        shown = volume.view(self.known_dtype).reshape(space[::-1])
        with file_errors(self.data), self._voxels() as file:
            for _ in range(count):
                fill(file, volume)
                yield shown
            if self.packed:
                _check_end(file, self)

    @property
    def _offset(self) -> int:
        return int(self.field("vox_offset"))

    def _voxels(self) -> IO[bytes]:
        """Open the file with the voxels at the first of them."""
        file = open_gzip(self.data) if self.packed else open(self.data, "rb", buffering=0)
        file.seek(self._offset)
        return file


def open_nifti(path: str | Path, *, axes: int) -> NiftiFile:
    """Read the header of a ``.nii``, ``.nii.gz`` or one file of an ``.hdr``/``.img`` pair.

    Parameters
    ----------
    path : str or Path
    axes : int
        3 for a volume (mask, atlas), 4 for a run.

    Raises
    ------
    VolumeError
        The file is missing, is not NIfTI, its header cannot be read, or the second file of a pair
        is a link that leaves the folder.
    """
    from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
    from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader

    path = _existing(Path(path))
    head, data = _pair(path)
    with file_errors(head), _stream(head) as file:
        block = file.read(_HEADER_BYTES)
    for order in ("<", ">"):
        size = int(np.frombuffer(block[:4].ljust(4, b"\0"), f"{order}i4")[0])
        magic = block[344:348] if size == 348 else block[4:8]
        kinds = {
            (348, b"n+1\0"): Nifti1Header,
            (348, b"ni1\0"): Nifti1PairHeader,
            (540, b"n+2\0"): Nifti2Header,
            (540, b"ni2\0"): Nifti2PairHeader,
        }
        kind = kinds.get((size, magic))
        if kind is None or len(block) < size:
            continue
        header = kind(block[:size], endianness=order, check=False)
        single = magic[:2] == b"n+"
        if single != (head == data):
            break
        return NiftiFile(head, data, _is_gzip(data), header, axes)
    raise VolumeError(
        f"open_nifti: {head} must be a NIfTI-1 or NIfTI-2 file, got header size and magic that fit "
        "neither (or a pair's header in a single file). Convert it with dcm2niix or nibabel."
    )


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Convert all errors of reading a file to a :class:`VolumeError` that names it."""
    try:
        yield
    except decoder().errors as error:
        raise VolumeError(
            f"load: {path} must be a whole gzip file, got '{error}'. Copy or download it again."
        ) from error
    except MemoryError as error:
        raise VolumeError(f"load: {path} must fit in memory, got '{error}'.") from error
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, VolumeError):
            raise
        raise VolumeError(f"load: {path} must be readable, got '{error}'.") from error


def stored_bytes(image: NiftiFile) -> tuple[int, int]:
    """Return lower and upper bounds on the unpacked size of the voxel file, in bytes."""
    with file_errors(image.data):
        size = image.data.stat().st_size
    return (0, size * MAX_DEFLATE) if image.packed else (size, size)


def _check_end(file: IO[bytes], image: NiftiFile) -> None:
    """Read a gzip file to its end, where its checksum is compared."""
    if rest_of(file, _TRAILING) > _TRAILING:
        raise VolumeError(
            f"load: {image.data} must hold the {image.nbytes} bytes its header promises, got "
            "over 1 MiB more. The header's dim does not belong to these voxels."
        )


def _existing(path: Path) -> Path:
    if not path.name.endswith(_SUFFIXES):
        surface = path.name.removesuffix(".gz").endswith(".gii")
        hint = " Surfaces (GIFTI) are read by fastbrain prepare." if surface else ""
        raise VolumeError(f"load: {path} must end in one of {', '.join(_SUFFIXES)}.{hint}")
    if os.path.islink(path) and not os.path.exists(path):
        raise VolumeError(
            f"load: {path} must hold data, got a link to nothing. Fetch it first "
            "('datalad get' or 'git annex get')."
        )
    if not os.path.isfile(path):
        raise VolumeError(f"load: {path} must be a file that exists.")
    return path


def _pair(path: Path) -> tuple[Path, Path]:
    for one, other in ((".hdr", ".img"), (".img", ".hdr")):
        for packing in ("", ".gz"):
            if not path.name.endswith(one + packing):
                continue
            stem = path.name.removesuffix(one + packing)
            mates = [path.with_name(stem + other + p) for p in (packing, "", ".gz")]
            mate = next((m for m in mates if m.is_file()), None)
            if mate is None:
                raise VolumeError(f"load: {path} must have its {other} file {mates[0]} beside it.")
            _check_mate(path, mate)
            return (path, mate) if one == ".hdr" else (mate, path)
    return path, path


def _check_mate(named: Path, mate: Path) -> None:
    """Raise if the second file of a pair is a link out of the folders of the first."""
    with file_errors(mate):
        real, target = named.resolve(), mate.resolve()
        # git-annex stores each file of a pair in a separate folder
        annex = next((p for p in real.parents if p.parts[-2:] == (".git", "annex")), real.parent)
        if any(target.is_relative_to(home) for home in (named.parent.resolve(), annex)):
            return
    raise VolumeError(
        f"load: {mate} must lie in the folder of {named}, got a link to {target}. Copy that file "
        "into the folder."
    )


def _is_gzip(path: Path) -> bool:
    with file_errors(path), open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _stream(path: Path) -> IO[bytes]:
    return open_gzip(path) if _is_gzip(path) else open(path, "rb")
