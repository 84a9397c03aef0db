"""Arrays in HDF5 files, read by h5py (extra ``hdf5``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FastbrainError, MissingPartError, VolumeError, some
from .unfetched import refuse_unfetched

SUFFIXES = (".h5", ".hdf5")
# deflate, which h5py calls gzip, reaches 1032 to 1, and only on values that are all equal
_MOST_COMPRESSED = 2000


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import h5py
    except ImportError as error:
        raise MissingPartError(
            f"load: the package h5py must be installed to read {path}, got none. "
            "pip install 'fastbrain-fmri[hdf5]'"
        ) from error
    refuse_unfetched(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    # h5py raises these for files that are damaged or no HDF5
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, FastbrainError):
            raise
        said = " ".join(str(error).split())[:200]
        raise VolumeError(f"load: {path} must be a readable HDF5 file, got '{said}'.") from error


def dataset_names(path: Path) -> list[str]:
    """List the arrays at the root of a file, sorted by name.

    Raises
    ------
    VolumeError
        The file cannot be read.
    CohortError
        git-annex has not fetched its contents.
    MissingPartError
        h5py is not installed.
    """
    with _opened(path) as file:
        return sorted(name for name in file if _is_plain(file, name))


def _is_plain(file: Any, name: str) -> bool:
    """Return whether a name is an array of numbers that the file itself holds."""
    import h5py

    # soft and external links, external storage and virtual arrays may lead to other files
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return False
    found = file[name]
    return (
        isinstance(found, h5py.Dataset)
        and not found.is_virtual
        and found.external is None
        and found.shape is not None
        and found.dtype.kind in "iuf"
    )


def _check_written(path: Path, dataset: Any) -> None:
    """Raise if values are missing; h5py would make them up, however large the array is."""
    if dataset.size == 0:
        return
    stored = dataset.id.get_storage_size()
    compressed = dataset.id.get_create_plist().get_nfilters() > 0
    wanted = there = 1
    if dataset.chunks is not None:
        wanted = math.prod(
            -(-n // chunk) for n, chunk in zip(dataset.shape, dataset.chunks, strict=True)
        )
        there = dataset.id.get_num_chunks()
    if there < wanted or dataset.nbytes > stored * (_MOST_COMPRESSED if compressed else 1):
        raise VolumeError(
            f"load: {path} {dataset.name} must hold all its values, got {there} of {wanted} blocks "
            f"and {stored} bytes on disk for {dataset.nbytes}. Write or download the file again."
        )


@dataclass(frozen=True)
class Hdf5Array:
    """An array at the root of an HDF5 file.

    Parameters
    ----------
    path : Path
    name : str
    shape : tuple of int
    dtype : dtype
    arranged : callable
        Brings the values into the order of volumes, (T, Z, Y, X).
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    arranged: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]

    @classmethod
    def open(
        cls, path: Path, name: str, arranged: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    ) -> Hdf5Array:
        """Read shape and type of an array, no values.

        Raises
        ------
        VolumeError
            The file cannot be read, has no such array of numbers, or not all of its values.
        CohortError, MissingPartError
            As for :func:`dataset_names`.
        """
        with _opened(path) as file:
            if not name or "/" in name or name not in file or not _is_plain(file, name):
                there = sorted(key for key in file if _is_plain(file, key))
                raise VolumeError(
                    f"load: {path} must have an array of numbers {name!r} at its root, stored in "
                    f"the file itself, got {some(there) if there else 'none'}. Name one in the "
                    "column dataset of the runs table."
                )
            found = file[name]
            _check_written(path, found)
            return cls(path, name, tuple(map(int, found.shape)), found.dtype, arranged)

    def read(self) -> npt.NDArray[Any]:
        """Read all values.

        Raises
        ------
        VolumeError
            The file is damaged, or changed since it was opened.
        """
        with _opened(self.path) as file:
            values = file[self.name][()]
        if values.shape != self.shape:
            raise VolumeError(
                f"load: {self.path} {self.name} must not change while it is read, got the shape "
                f"{values.shape} after {self.shape}."
            )
        return self.arranged(values)
