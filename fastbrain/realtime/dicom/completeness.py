"""Whether all bytes of a DICOM file are there, decided by its header (PS3.5 and PS3.10)."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import VolumeError
from .elements import Elements, parse, pixel_element, transfer_syntax
from .header import (
    ALLOCATED,
    BIG_ENDIAN,
    COLUMNS,
    DEFLATED,
    ENHANCED_MR,
    FRAMES,
    IMAGE_TYPE,
    IMPLICIT,
    INSTANCE,
    LEGACY_ENHANCED_MR,
    MAX_BYTES,
    MR,
    NATIVE,
    ROWS,
    SAMPLES,
    SERIES,
    SERIES_NUMBER,
    SIGNED,
    SOP_CLASS,
    STORED,
    TAGS,
    Header,
)


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
    parsed = parse(data, start, TAGS, implicit=implicit, little=little)
    if parsed is None:
        return Incomplete(len(data) + 1)
    own, at = parsed
    pixels = pixel_element(data, at, implicit=implicit, little=little)
    sop = own.text(SOP_CLASS)
    # an element that the file ends in is shorter than it will be
    whole = pixels is not None or own.raw(SERIES) is not None
    if whole and sop not in (None, MR, ENHANCED_MR, LEGACY_ENHANCED_MR):
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
    whole = sop == ENHANCED_MR or "MOSAIC" in (own.text(IMAGE_TYPE) or "")
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
    if sop in (ENHANCED_MR, LEGACY_ENHANCED_MR):
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
