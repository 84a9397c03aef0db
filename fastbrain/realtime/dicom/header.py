"""The header of one DICOM image of a functional run, and whether its file is complete.

DICOM PS3.3 (image modules) and PS3.5 (encoding); the names of tags are those of PS3.6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ...errors import VolumeError
from .elements import Elements, parse, pixel_element, transfer_syntax

DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_BYTES = 256 << 20  # of one file: 400 slices of 512 by 512 are fewer
IMPLICIT, EXPLICIT, BIG_ENDIAN = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
)
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN)

_MR, _ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
_LEGACY_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.4"

IMAGE_TYPE, SOP_CLASS, ACQUIRED_DATE, ACQUIRED = 0x00080008, 0x00080016, 0x0008002A, 0x00080032
THICKNESS, TR, ECHO_TIME, SPACING_BETWEEN = 0x00180050, 0x00180080, 0x00180081, 0x00180088
SERIES, SERIES_NUMBER, INSTANCE = 0x0020000E, 0x00200011, 0x00200013
POSITION, ORIENTATION = 0x00200032, 0x00200037
TEMPORAL, TEMPORALS, IMAGES = 0x00200100, 0x00200105, 0x00201002
SAMPLES, FRAMES, ROWS, COLUMNS, SPACING = 0x00280002, 0x00280008, 0x00280010, 0x00280011, 0x00280030
ALLOCATED, STORED, SIGNED = 0x00280100, 0x00280101, 0x00280103
INTERCEPT, SLOPE = 0x00281052, 0x00281053
SHARED, PER_FRAME = 0x52009229, 0x52009230
_CSA, _CSA_OWNER = 0x10, "SIEMENS CSA HEADER"
_MOSAIC_IMAGES, _MOSAIC_OWNER = 0x0A, "SIEMENS MR HEADER"
_PHILIPS_SLICES, _PHILIPS_OWNER = 0x18, "Philips Imaging DD 001"
_GE_SLICES, _GE_OWNER = 0x4F, "GEMS_RELA_01"


def _private(group: int, element: int) -> list[int]:
    """List where the owner of a private element may be stored, and the element."""
    blocks = range(0x10, 0x20)
    return [group << 16 | b for b in blocks] + [group << 16 | b << 8 | element for b in blocks]


# nothing else is read: no element about the patient is among them
_TAGS = [
    *(IMAGE_TYPE, SOP_CLASS, ACQUIRED_DATE, ACQUIRED, THICKNESS, TR, ECHO_TIME, SPACING_BETWEEN),
    *(SERIES, SERIES_NUMBER, INSTANCE, POSITION, ORIENTATION, TEMPORAL, TEMPORALS, IMAGES),
    *(SAMPLES, FRAMES, ROWS, COLUMNS, SPACING, ALLOCATED, STORED, SIGNED, INTERCEPT, SLOPE),
    *(SHARED, PER_FRAME),
    *_private(0x0019, _MOSAIC_IMAGES),
    *_private(0x0029, _CSA),
    *_private(0x2001, _PHILIPS_SLICES),
    *_private(0x0021, _GE_SLICES),
]
_TIME = re.compile(r"(\d\d)(\d\d)(\d\d(?:\.\d+)?)")


@dataclass(frozen=True)
class Incomplete:
    """A file that has not all its bytes yet.

    Parameters
    ----------
    needed : int
        Bytes that the file has at least when it is complete, as far as is known.
    index : int or None
        Number of the volume, from 0, if the header states it and a volume has one file.
    """

    needed: int
    index: int | None = None


@dataclass(frozen=True)
class Header:
    """Fields of one complete image that its voxels and their place depend on.

    Parameters
    ----------
    kind : str
        ``"mosaic"``, ``"enhanced"`` or ``"slice"``.
    series : str
        Identifies the series; it never leaves the reader.
    rows, columns, frames : int
    bits : int
        Bits of a value that are used; `allocated` bits are stored.
    pixels : tuple of 2 int
        Offset and length of the pixel values in the file; the length is -1 if they are compressed.
    """

    kind: str
    syntax: str
    series: str
    series_number: int | None
    instance: int | None
    rows: int
    columns: int
    frames: int
    allocated: int
    bits: int
    signed: bool
    big_endian: bool
    pixels: tuple[int, int]
    elements: Elements = field(repr=False)

    @property
    def echo_ms(self) -> float | None:
        """Echo time, ms."""
        return self.elements.number(ECHO_TIME)

    @property
    def tr_s(self) -> float | None:
        """Repetition time, seconds."""
        value = self.elements.number(TR)
        return value / 1000 if value else None

    @property
    def acquired(self) -> float | None:
        """Time of day of the acquisition, seconds."""
        return time_of_day(self.elements)

    @property
    def mosaic_images(self) -> int | None:
        """Number of slices in a mosaic by the Siemens header outside the CSA block."""
        tag = self.elements.private(0x0019, _MOSAIC_OWNER, _MOSAIC_IMAGES)
        value = None if tag is None else self.elements.binary(tag, "H")
        return None if value is None else int(value)

    @property
    def csa(self) -> bytes | None:
        """The CSA image header of Siemens."""
        tag = self.elements.private(0x0029, _CSA_OWNER, _CSA)
        return None if tag is None else self.elements.raw(tag)

    @property
    def slices(self) -> int | None:
        """Number of slices in a volume, for images of one slice."""
        own = self.elements
        tag = own.private(0x2001, _PHILIPS_OWNER, _PHILIPS_SLICES)
        value = None if tag is None else own.binary(tag, "i")
        if value is None:
            tag = own.private(0x0021, _GE_OWNER, _GE_SLICES)
            value = None if tag is None else own.binary(tag, "h")
        if value is None:
            value = own.integer(IMAGES)
        return None if value is None or not 1 <= value <= 4096 else int(value)

    @property
    def volume_index(self) -> int | None:
        """Number of the volume in its run, from 0; None if the header does not state it."""
        own = self.elements
        if self.kind == "slice":
            temporal = own.integer(TEMPORAL)
            if temporal is not None:
                return temporal - 1
            if self.instance is None or self.slices is None:
                return None
            return (self.instance - 1) // self.slices
        return None if self.instance is None else self.instance - 1


def read_header(data: bytes) -> Header | Incomplete | None:
    """Read the header of the first bytes of a file and decide whether all of them are there.

    A file is complete when its pixel data element is there and holds as many bytes as rows,
    columns, frames and bits imply; its size over time plays no part.

    Returns
    -------
    Header, Incomplete or None
        None if the file is complete DICOM, but not an MR image.

    Raises
    ------
    VolumeError
        The bytes cannot be those of a readable image.
    """
    meta = transfer_syntax(data)
    if meta is None:
        return Incomplete(len(data) + 1)
    syntax, start = meta
    if syntax == DEFLATED:
        raise VolumeError(
            "TransferSyntaxUID (0002,0010) must not be deflated. Let the scanner export "
            "uncompressed DICOM (explicit VR, little endian)."
        )
    implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
    parsed = parse(data, start, _TAGS, implicit=implicit, little=little)
    if parsed is None:
        return Incomplete(len(data) + 1)
    own, at = parsed
    pixels = pixel_element(data, at, implicit=implicit, little=little)
    sop = own.text(SOP_CLASS)
    # an element that the file ends in is shorter than it will be
    whole = pixels is not None or own.raw(SERIES) is not None
    if whole and sop not in (None, _MR, _ENHANCED_MR, _LEGACY_ENHANCED_MR):
        return None
    if pixels is None:
        return Incomplete(len(data) + 1, _index_of_part(own, sop))
    header = _header(own, syntax, sop, pixels)
    end = _end(header, data)
    if end > len(data):
        return Incomplete(end, None if header.kind == "slice" else header.volume_index)
    return header


def _index_of_part(own: Elements, sop: str | None) -> int | None:
    """Return the number of the volume if the part that is there states it."""
    whole = sop == _ENHANCED_MR or "MOSAIC" in (own.text(IMAGE_TYPE) or "")
    # rows come after the number, which may be cut otherwise
    if not whole or own.raw(ROWS) is None:
        return None
    instance = own.integer(INSTANCE)
    return None if instance is None or instance < 1 else instance - 1


def _header(own: Elements, syntax: str, sop: str | None, pixels: tuple[int, int]) -> Header:
    sizes = {}
    for tag, default in ((SAMPLES, 1), (ROWS, 0), (COLUMNS, 0), (ALLOCATED, 0), (SIGNED, 0)):
        value = own.binary(tag, "H")
        sizes[tag] = default if value is None else int(value)
    stored = own.binary(STORED, "H")
    bits = sizes[ALLOCATED] if stored is None else int(stored)
    frames = own.integer(FRAMES) if own.raw(FRAMES) else 1
    if sizes[SAMPLES] != 1 or sizes[ALLOCATED] not in (8, 16) or not 1 <= bits <= sizes[ALLOCATED]:
        raise VolumeError(
            "pixels must be one sample of 8 or 16 bits, got "
            f"{sizes[SAMPLES]} of {bits} in {sizes[ALLOCATED]}. Export magnitude images."
        )
    if not sizes[ROWS] or not sizes[COLUMNS] or frames is None or not 1 <= frames <= 65536:
        raise VolumeError(
            f"rows, columns and frames must be 1 or more, got {sizes[ROWS]}, {sizes[COLUMNS]}, "
            f"{frames}. Export the series again."
        )
    if sizes[ROWS] * sizes[COLUMNS] * frames * sizes[ALLOCATED] // 8 > MAX_BYTES:
        raise VolumeError(
            f"pixels must fit in {MAX_BYTES >> 20} MiB, got {sizes[ROWS]} rows of "
            f"{sizes[COLUMNS]} in {frames} frames. Export one volume a file."
        )
    kind = "slice"
    if sop in (_ENHANCED_MR, _LEGACY_ENHANCED_MR):
        kind = "enhanced"
    elif "MOSAIC" in (own.text(IMAGE_TYPE) or "").split("\\"):
        kind = "mosaic"
    elif frames != 1:
        raise VolumeError(f"a classic image must have 1 frame, got {frames}.")
    return Header(
        kind=kind,
        syntax=syntax,
        series=own.text(SERIES) or "",
        series_number=own.integer(SERIES_NUMBER),
        instance=own.integer(INSTANCE),
        rows=sizes[ROWS],
        columns=sizes[COLUMNS],
        frames=frames,
        allocated=sizes[ALLOCATED],
        bits=bits,
        signed=bool(sizes[SIGNED]),
        big_endian=not own.little,
        pixels=pixels,
        elements=own,
    )


def _end(header: Header, data: bytes) -> int:
    """Return the number of bytes of the whole file as far as its pixel data."""
    start, length = header.pixels
    if (length == -1) == (header.syntax in NATIVE):
        raise VolumeError(
            "PixelData (7FE0,0010) must have a length exactly if it is not compressed."
        )
    if length == -1:
        return _end_of_fragments(data, start)
    expected = header.rows * header.columns * header.frames * header.allocated // 8
    # an odd number of bytes is padded with one
    if length not in (expected, expected + expected % 2):
        raise VolumeError(
            f"PixelData (7FE0,0010) must hold the {expected} bytes of its rows, columns and "
            f"frames, got {length}. Export the series again."
        )
    return start + expected


def _end_of_fragments(data: bytes, at: int) -> int:
    """Return where the items of compressed pixel data end; past the data if it is not there."""
    while True:
        head = data[at : at + 8]
        if len(head) < 8:
            return max(at + 8, len(data) + 1)
        tag, length = head[:4], int.from_bytes(head[4:], "little")
        if tag == b"\xfe\xff\xdd\xe0":
            return at + 8
        if tag != b"\xfe\xff\x00\xe0" or length == 0xFFFFFFFF:
            raise VolumeError("PixelData (7FE0,0010) must consist of items. Export it again.")
        at += 8 + length


def time_of_day(own: Elements) -> float | None:
    """Return the time of an acquisition in seconds of its day; None if it is not stated."""
    text = (own.text(ACQUIRED_DATE) or "")[8:] or own.text(ACQUIRED) or ""
    found = _TIME.match(text)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
