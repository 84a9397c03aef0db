"""Values of DICOM elements from their raw bytes.

pydicom finds the elements; their few values are decoded here, because its own conversion quotes
values, which may be those of a patient, in warnings and errors.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import FastbrainError, MissingPartError, VolumeError

PRIVATE_BLOCKS = range(0x10, 0x18)  # where owners of private elements are looked for
_UNDEFINED = 0xFFFFFFFF
_PIXEL_DATA = 0x7FE00010
_MOST_META = 1 << 16
_UID = re.compile(rb"[0-9.]{1,64}")
_LONG_VRS = (b"OB", b"OW", b"OD", b"OF", b"OL", b"UN", b"UT", b"SQ")


@dataclass(frozen=True)
class Elements:
    """The wanted elements of a data set, or of an item of a sequence."""

    dataset: Any
    little: bool

    def raw(self, tag: int) -> bytes | None:
        """Return the bytes of an element; None if it is absent or empty."""
        item = self.dataset.get_item(tag, keep_deferred=True)
        value = getattr(item, "value", None)
        return value if isinstance(value, bytes) and value else None

    def text(self, tag: int) -> str | None:
        """Return a short text without its padding."""
        value = self.raw(tag)
        return None if value is None else value.decode("ascii", "replace").strip(" \0") or None

    def numbers(self, tag: int) -> list[float]:
        """Return the numbers of a decimal or integer string; empty if there is none."""
        text = self.text(tag)
        if text is None:
            return []
        try:
            values = [float(part) for part in text.split("\\")]
        except ValueError:
            values = [float("nan")]
        if not all(map(math.isfinite, values)):
            raise VolumeError(f"{named(tag)} must hold numbers. Export the series again.")
        return values

    def number(self, tag: int) -> float | None:
        """Return the first number of a decimal or integer string."""
        return next(iter(self.numbers(tag)), None)

    def vector(self, tag: int, length: int) -> npt.NDArray[np.float64]:
        """Return exactly `length` numbers."""
        values = self.numbers(tag)
        if len(values) != length:
            raise VolumeError(
                f"{named(tag)} must hold {length} numbers, got {len(values)}. Export the series "
                "without removing its geometry."
            )
        return np.array(values)

    def integer(self, tag: int) -> int | None:
        """Return the first number as a whole number."""
        value = self.number(tag)
        if value is None:
            return None
        if value != int(value) or abs(value) >= 2**31:
            raise VolumeError(f"{named(tag)} must be a whole number of 32 bits, got {value:g}.")
        return int(value)

    def binary(self, tag: int, code: str) -> float | None:
        """Return a binary number; `code` is its :mod:`struct` format."""
        value = self.raw(tag)
        size = struct.calcsize(code)
        if value is None or len(value) < size:
            return None
        return struct.unpack(("<" if self.little else ">") + code, value[:size])[0]

    def items(self, tag: int) -> list[Elements]:
        """Return the items of a sequence; empty if it is absent."""
        # a value of another type would be converted, and quoted in a warning
        if getattr(self.dataset.get_item(tag, keep_deferred=True), "VR", "") not in ("SQ", None):
            return []
        return [Elements(item, self.little) for item in self.dataset[tag].value or []]

    def private(self, group: int, creator: str, element: int) -> int | None:
        """Return the tag of a private element by the name of its owner; None if it is absent."""
        for block in PRIVATE_BLOCKS:
            if self.text(group << 16 | block) == creator:
                return group << 16 | block << 8 | element
        return None


def named(tag: int) -> str:
    """Return keyword and number of a tag, for messages."""
    from pydicom.datadict import keyword_for_tag

    return f"{keyword_for_tag(tag) or 'element'} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@contextmanager
def parse_errors() -> Iterator[None]:
    """Turn every error of pydicom into a :class:`VolumeError` that quotes no value of the file."""
    try:
        yield
    except FastbrainError:
        raise
    except Exception as error:
        kind = type(error).__name__
    else:
        return
    # the texts of pydicom quote values, so that they must not be printed with this error
    raise VolumeError(
        f"the header must be sound DICOM, got a {kind}. Export the file again."
    ) from None


def require_pydicom() -> None:
    """Raise :class:`MissingPartError` if pydicom is not installed."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise MissingPartError(
            "read_dicom: pydicom must be installed, got none. Install fastbrain-fmri[realtime]."
        ) from error


def transfer_syntax(data: bytes) -> tuple[str, int] | None:
    """Read the transfer syntax of a file and where its data set starts; None if bytes are missing.

    Raises
    ------
    VolumeError
        The bytes are not those of a DICOM file.
    """
    if data[128:132] != b"DICM"[: max(0, len(data) - 128)]:
        raise VolumeError("the file must be DICOM with a preamble, got other content.")
    if len(data) < 144:
        return None
    if data[132:140] != b"\x02\0\0\0UL\x04\0":
        raise VolumeError("the file meta information must start with its length.")
    end = 144 + struct.unpack("<I", data[140:144])[0]
    if end > _MOST_META:
        raise VolumeError(f"the file meta information must have at most {_MOST_META} bytes.")
    if len(data) < end:
        return None
    at = data.find(b"\x02\0\x10\0UI", 144, end)
    size = struct.unpack("<H", data[at + 6 : at + 8])[0] if 0 <= at <= end - 8 else 0
    syntax = data[at + 8 : at + 8 + size].rstrip(b" \0")
    if not _UID.fullmatch(syntax):
        raise VolumeError("TransferSyntaxUID (0002,0010) must be in the file meta information.")
    return syntax.decode("ascii"), end


class _Stream(io.BytesIO):
    """Bytes of a file that note whether more were asked for than there are."""

    ended = False

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        if size is not None and len(got) < size:
            self.ended = True
        return got


def _at_pixels(tag: int, vr: str | None, length: int) -> bool:
    # the comparison of pydicom's tags takes ten times as long
    return int.__ge__(tag, _PIXEL_DATA)


def parse(
    data: bytes, start: int, tags: Sequence[int], *, implicit: bool, little: bool
) -> tuple[Elements, int] | None:
    """Read the elements in `tags` up to the pixel data; None if an element is cut.

    Parameters
    ----------
    data : bytes
    start : int
        Where the data set begins.
    tags : sequence of int
    implicit : bool
        Whether elements are stored without their types.
    little : bool
        Whether numbers are little endian.

    Returns
    -------
    Elements
        They are incomplete if the bytes end before the pixel data.
    int
        Offset of the pixel data element, or where reading ended.
    """
    from pydicom.filereader import read_dataset

    def read(stream: io.BytesIO) -> Any:
        stream.seek(start)
        return read_dataset(
            stream, implicit, little, stop_when=_at_pixels, specific_tags=list(tags)
        )

    stream = io.BytesIO(data)
    try:
        dataset = read(stream)
    except Exception:
        if _ends(read, data):
            return None
        with parse_errors():
            raise
    return Elements(dataset, little), stream.tell()


def _ends(read: Callable[[io.BytesIO], Any], data: bytes) -> bool:
    """Whether reading fails because the bytes end."""
    # only now: to note this takes a third of the time to read a header
    stream = _Stream(data)
    with suppress(Exception):
        read(stream)
    return stream.ended


def pixel_element(data: bytes, at: int, *, implicit: bool, little: bool) -> tuple[int, int] | None:
    """Return offset and length of the pixel values; None if their element is not there yet.

    A length of -1 is that of compressed pixel data.
    """
    order = "<" if little else ">"
    if len(data) < at + 8 or struct.unpack(order + "HH", data[at : at + 4]) != (
        _PIXEL_DATA >> 16,
        _PIXEL_DATA & 0xFFFF,
    ):
        return None
    start = at + 8
    if not implicit:
        if data[at + 4 : at + 6] not in _LONG_VRS:
            raise VolumeError("PixelData (7FE0,0010) must be of VR OB or OW.")
        start = at + 12
    if len(data) < start:
        return None
    length = struct.unpack(order + "I", data[start - 4 : start])[0]
    return start, -1 if length == _UNDEFINED else length
