"""Small DICOM files as scanners of three makers write them, with known voxels and place."""

from __future__ import annotations

import io
import math
import struct
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

PATIENT = "DOE^JANE"
MR, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
SERIES = "1.2.826.0.1.3680043.8.498.1"
SIZES = (3.5, 2.5, 3.0)  # of voxels along z, y, x, mm
TILT = 0.2  # about the x axis, radians


def frame(tilt: float = TILT) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along x, y and z in DICOM coordinates."""
    x = np.array([1.0, 0.0, 0.0])
    y = np.array([0.0, math.cos(tilt), -math.sin(tilt)])
    return x, y, np.cross(x, y)


def place(first=(-30.0, -40.0, 12.0), tilt: float = TILT, sizes=SIZES, flip: bool = False):
    """Affine in RAS of a stack that starts at `first`, DICOM coordinates."""
    x, y, z = frame(tilt)
    affine = np.eye(4)
    steps = (x * sizes[2], y * sizes[1], (-z if flip else z) * sizes[0])
    for axis, step in enumerate(steps):
        affine[:3, axis] = step
    affine[:3, 3] = first
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def voxels(shape=(5, 6, 7), seed: int = 0, high: int = 4000, dtype=np.uint16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape).astype(dtype)


def csa(slices: int, normal: np.ndarray) -> bytes:
    """A CSA header of version 2 with the two entries that mosaics need, and one before them."""

    def entry(name: str, texts: list[str]) -> bytes:
        block = struct.pack("<64si4s3i", name.encode(), len(texts), b"IS", 6, 6, 77)
        for number in range(6):
            text = texts[number].encode() + b"\0" if number < len(texts) else b""
            block += struct.pack("<4i", len(text), len(text), 77, len(text))
            block += text + bytes(-len(text) % 4)
        return block

    entries = [
        entry("EchoLinePosition", ["32"]),
        entry("NumberOfImagesInMosaic", [str(slices)]),
        entry("SliceNormalVector", [f"{v:.8f}" for v in normal]),
    ]
    return b"SV10\4\3\2\1" + struct.pack("<2I", len(entries), 77) + b"".join(entries)


def common(data: np.ndarray, index: int, *, bits: int | None = None, tr_s: float = 2.0) -> Dataset:
    signed = data.dtype.kind == "i"
    bits = (16 if signed else 12) if bits is None else bits
    ds = Dataset()
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = PATIENT, "4711", "19700101"
    ds.Modality, ds.SOPClassUID = "MR", MR
    ds.SOPInstanceUID = f"{SERIES}.{index + 1}"
    ds.SeriesInstanceUID, ds.SeriesNumber, ds.InstanceNumber = SERIES, 7, index + 1
    ds.RepetitionTime, ds.EchoTime = tr_s * 1000, 30
    ds.SliceThickness, ds.SpacingBetweenSlices = 3.0, SIZES[0]
    ds.AcquisitionTime = clock(36000 + index * tr_s)
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows, ds.Columns = data.shape[-2:]
    ds.PixelSpacing = [SIZES[1], SIZES[2]]
    x, y, _ = frame()
    ds.ImageOrientationPatient = [round(float(v), 10) for v in (*x, *y)]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, bits, bits - 1
    ds.PixelRepresentation = int(signed)
    ds.PixelData = data.astype(data.dtype.newbyteorder("<")).tobytes()
    return ds


def clock(seconds: float) -> str:
    seconds %= 86400
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{int(hours):02d}{int(minutes):02d}{rest:09.6f}"


def written(ds: Dataset, *, syntax: str = ExplicitVRLittleEndian) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    stream = io.BytesIO()
    ds.save_as(
        stream,
        implicit_vr=syntax == ImplicitVRLittleEndian,
        little_endian=True,
        enforce_file_format=True,
    )
    return stream.getvalue()


def mosaic(
    data: np.ndarray,
    index: int = 0,
    *,
    first=(-30.0, -40.0, 12.0),
    flip: bool = False,
    with_csa: bool = True,
    with_count: bool = True,
    syntax: str = ExplicitVRLittleEndian,
    change: dict[str, Any] | None = None,
    **options: Any,
) -> bytes:
    """A Siemens mosaic of `data`, (Z, Y, X)."""
    z, y, x = data.shape
    tiles = math.isqrt(z - 1) + 1
    sheet = np.zeros((tiles * tiles, y, x), data.dtype)
    sheet[:z] = data
    sheet = sheet.reshape(tiles, tiles, y, x).swapaxes(1, 2).reshape(tiles * y, tiles * x)
    ds = common(sheet, index, **options)
    along_x, along_y, along_z = frame()
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    corner = np.array(first) - along_x * SIZES[2] * (tiles - 1) * x / 2
    corner = corner - along_y * SIZES[1] * (tiles - 1) * y / 2
    ds.ImagePositionPatient = [round(float(v), 10) for v in corner]
    if with_count:
        ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0A, "US", z)
    if with_csa:
        block = ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa(z, -along_z if flip else along_z))
    for name, value in (change or {}).items():
        setattr(ds, name, value)
    return written(ds, syntax=syntax)


def enhanced(
    data: np.ndarray,
    index: int = 0,
    *,
    first=(-30.0, -40.0, 12.0),
    order: list[int] | None = None,
    temporal: list[int] | None = None,
    slopes: list[float] | None = None,
    stacked: bool = True,
    **options: Any,
) -> bytes:
    """An enhanced image of one volume; `order` is the slice of each frame."""
    z = len(data)
    order = list(range(z)) if order is None else order
    ds = common(data[order], index, **options)
    _, _, along_z = frame()
    ds.SOPClassUID, ds.NumberOfFrames = ENHANCED, z
    shared = Dataset()
    orientation, measures, timing = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = ds.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = ds.PixelSpacing, ds.SliceThickness
    timing.RepetitionTime = ds.RepetitionTime
    shared.PlaneOrientationSequence = Sequence([orientation])
    shared.PixelMeasuresSequence = Sequence([measures])
    shared.MRTimingAndRelatedParametersSequence = Sequence([timing])
    time = ds.AcquisitionTime
    for name in ("ImageOrientationPatient", "PixelSpacing", "RepetitionTime", "AcquisitionTime"):
        delattr(ds, name)
    ds.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for number, which in enumerate(order):
        item, content, position, values = Dataset(), Dataset(), Dataset(), Dataset()
        content.FrameAcquisitionDateTime = "20260102" + str(time)
        content.TemporalPositionIndex = index + 1 if temporal is None else temporal[number]
        if stacked:
            content.StackID, content.InStackPositionNumber = "1", which + 1
        at = np.array(first) + along_z * SIZES[0] * which
        position.ImagePositionPatient = [round(float(v), 10) for v in at]
        values.RescaleIntercept, values.RescaleType = 0, "US"
        values.RescaleSlope = 1 if slopes is None else slopes[which]
        item.FrameContentSequence = Sequence([content])
        item.PlanePositionSequence = Sequence([position])
        item.PixelValueTransformationSequence = Sequence([values])
        frames.append(item)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    return written(ds)


def slices(
    data: np.ndarray,
    index: int = 0,
    *,
    maker: str = "GE",
    first=(-30.0, -40.0, 12.0),
    slopes: list[float] | None = None,
    counted: bool = True,
    **options: Any,
) -> list[bytes]:
    """The slices of a volume in a file each, in the order of their position."""
    _, _, along_z = frame()
    files = []
    for number, plane in enumerate(data):
        ds = common(plane, index, **options)
        ds.InstanceNumber = index * len(data) + number + 1
        ds.SOPInstanceUID = f"{SERIES}.{ds.InstanceNumber}"
        at = np.array(first) + along_z * SIZES[0] * number
        ds.ImagePositionPatient = [round(float(v), 10) for v in at]
        if maker == "GE":
            ds.ImagesInAcquisition = len(data)
        else:
            ds.TemporalPositionIdentifier, ds.NumberOfTemporalPositions = index + 1, 9
            # slices fastest in time or in position, as exported
            ds.InstanceNumber = number * 9 + index + 1
            ds.RescaleIntercept = 0
            ds.RescaleSlope = 1.5 if slopes is None else slopes[number]
            if counted:
                block = ds.private_block(0x2001, "Philips Imaging DD 001", create=True)
                block.add_new(0x18, "SL", len(data))
        files.append(written(ds))
    return files
