"""Reading of gzip files by the fastest decoder that is installed.

The decoders give the same bytes and compare the same checksum. On a run of 225 MB zlib takes 0.93 s
of one core, zlib-ng 0.48 s and ISA-L 0.39 s (``benchmarks/systems/prepare.py``).
"""

from __future__ import annotations

import gzip
import importlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ...errors import ConfigError

VARIABLE = "FASTBRAIN_GUNZIP"
_BLOCK = 1 << 24
# decoder -> module with a function `open` like gzip's, module with the error of damaged data
_DECODERS = {
    "isal": ("isal.igzip", "isal.isal_zlib"),
    "zlib-ng": ("zlib_ng.gzip_ng", "zlib_ng.zlib_ng"),
    "zlib": ("gzip", "zlib"),
}


@dataclass(frozen=True)
class Decoder:
    """A library that reads gzip files.

    Parameters
    ----------
    name : str
        ``"isal"``, ``"zlib-ng"`` or ``"zlib"``.
    open : callable
        As :func:`gzip.open`.
    errors : tuple of type
        Errors of a damaged or truncated stream.
    """

    name: str
    open: Callable[..., Any]
    errors: tuple[type[Exception], ...]


def installed() -> tuple[str, ...]:
    """Names of the decoders that are installed, the fastest first; zlib always is."""
    return tuple(name for name, (module, _) in _DECODERS.items() if find_spec(module.split(".")[0]))


def decoder(name: str | None = None) -> Decoder:
    """Return a decoder: the named one, that of ``$FASTBRAIN_GUNZIP``, or the fastest installed.

    Raises
    ------
    ConfigError
        The named decoder is not known or not installed.
    """
    return _decoder(name or os.environ.get(VARIABLE) or installed()[0])


@cache
def _decoder(name: str) -> Decoder:
    if name not in installed():
        raise ConfigError(
            f"decoder: {VARIABLE} must be one of {', '.join(installed())}, which are installed, "
            f"got {name!r}. Unset it, or install the extra gunzip."
        )
    module, source = (importlib.import_module(path) for path in _DECODERS[name])
    return Decoder(name, module.open, (gzip.BadGzipFile, EOFError, zlib.error, source.error))


def open_gzip(path: Path) -> IO[bytes]:
    """Open a gzip file for reading."""
    file: IO[bytes] = decoder().open(path, "rb")
    return file


def fill(file: IO[bytes], out: npt.NDArray[np.uint8]) -> None:
    """Fill an array from a file.

    Raises
    ------
    EOFError
        The file ends before that.
    """
    filled, view = 0, out.data
    while filled < len(out):
        got = file.readinto(view[filled : filled + _BLOCK])  # type: ignore[attr-defined]
        if not got:
            raise EOFError(f"{filled} of {len(out)} bytes of voxels")
        filled += got


def rest_of(file: IO[bytes], most: int) -> int:
    """Read a file to its end, or a little more than `most` bytes; return the number of bytes."""
    count = 0
    while count <= most and (block := file.read(most)):
        count += len(block)
    return count
