"""The header of one DICOM image of a functional run (PS3.3; names of tags as in PS3.6)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .elements import PRIVATE_BLOCKS, Elements

DEFLATED = "1.2.840.10008.1.2.1.99"
MAX_BYTES = 256 << 20  # of one file: 400 slices of 512 by 512 are fewer
IMPLICIT, EXPLICIT, BIG_ENDIAN = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
)
NATIVE = (IMPLICIT, EXPLICIT, BIG_ENDIAN)

MR, ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
LEGACY_ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.4"

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
    owners = [group << 16 | block for block in PRIVATE_BLOCKS]
    return owners + [group << 16 | block << 8 | element for block in PRIVATE_BLOCKS]


# nothing else is read: no element about the patient is among them
TAGS = [
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


def time_of_day(own: Elements) -> float | None:
    """Return the time of an acquisition in seconds of its day; None if it is not stated."""
    text = (own.text(ACQUIRED_DATE) or "")[8:] or own.text(ACQUIRED) or ""
    found = _TIME.match(text)
    if found is None:
        return None
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
