"""Checks of NIfTI headers before an image is read; each check returns a list of findings."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import InputError
from .findings import Finding
from .nifti import NiftiFile, stored_bytes
from .orientation import image_affine
from .scaling import image_scaling
from .timing import CORRECT_TR, TR_TOLERANCE_S

TR_RANGE_S = (0.1, 30.0)
# limit on the bytes before the voxels (header and extensions), which gzip must unpack first. The
# longest known extensions, of CIFTI and AFNI, have a few MB
_MAX_OFFSET = 32 << 20
# with these intents the fifth axis holds the components of a vector instead of volumes
_VECTOR_INTENTS = frozenset((*range(1003, 1011), 2003, 2004))
_CIFTI_INTENTS = range(3000, 3100)
_UNIT_SECONDS = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
_UNIT_NAMES = {0: "unknown", 8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}


def check_storage(image: NiftiFile, *, max_bytes: int) -> list[Finding]:
    """Check size, type, scaling, affine and file length before voxels are read."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        lambda: _check_kind(image),
        lambda: _check_dims(image),
        lambda: _check_dtype(image),
        lambda: _check_cap(image, max_bytes),
        lambda: image_scaling(image)[2],
        lambda: image_affine(image)[1],
        lambda: _check_length(image),
    )
    findings: list[Finding] = []
    for check in checks:
        findings += check()
        # later checks would report the same damage again
        if any(finding.level == "error" for finding in findings):
            break
    return findings


def _check_kind(image: NiftiFile) -> list[Finding]:
    code = int(image.field("intent_code"))
    if code not in _CIFTI_INTENTS:
        return []
    message = (
        f"must be that of volumes, got {code}: this is a CIFTI-2 file of a surface and its "
        "subcortex. Prepare a store from it (fastbrain prepare, name ending in .dtseries.nii), or "
        "take the volumetric image beside it (*.nii.gz)."
    )
    return [Finding("error", "intent_code", message)]


def _check_dims(image: NiftiFile) -> list[Finding]:
    stored, shape = image.stored_dims, image.dims
    if not stored or min(stored) < 1:
        hint = "The file's dim field is damaged."
    elif len(shape) < image.axes:
        hint = f"The image has {len(shape)} axes and no more can be known."
        if len(shape) == 3:
            hint = "This is a single volume; a run has a time axis (fslmerge or "
            hint += "nibabel.concat_images)."
    elif len(shape) > 4 or (image.volume_axis > 4 and _is_vector(image)):
        hint = "It holds several values a voxel, not volumes over time. Save them one by one."
    elif len(shape) > image.axes:
        hint = f"The image holds {shape[3]} volumes. Take one of them (nibabel.four_to_three)."
    else:
        return []
    return [Finding("error", "dim", f"must be {image.axes} sizes >= 1, got {stored}. {hint}")]


def _is_vector(image: NiftiFile) -> bool:
    return int(image.field("intent_code")) in _VECTOR_INTENTS


def _check_dtype(image: NiftiFile) -> list[Finding]:
    if image.dtype is not None:
        return []
    message = f"must be an integer or float up to 64 bit, got code {image.field('datatype'):g}."
    return [Finding("error", "datatype", message)]


def _check_cap(image: NiftiFile, max_bytes: int) -> list[Finding]:
    if image.nbytes <= max_bytes:
        return []
    message = (
        f"must imply at most {max_bytes} bytes, got {image.nbytes} from {image.dims}. "
        "Pass max_bytes= if the image is really that large."
    )
    return [Finding("error", "dim", message)]


def _check_length(image: NiftiFile) -> list[Finding]:
    offset = image.field("vox_offset")
    least = 0 if image.path != image.data else int(image.header["sizeof_hdr"])
    _, size = stored_bytes(image)
    most = min(size, _MAX_OFFSET)
    if not (np.isfinite(offset) and least <= offset <= most and offset == int(offset)):
        message = f"must be a whole number of bytes in {least}..{most}, got {offset}."
        return [Finding("error", "vox_offset", message)]
    if int(offset) + image.nbytes > size:
        message = (
            f"promises {image.nbytes} bytes of voxels, but {image.data.name} can hold "
            f"{size - int(offset)}. The file is truncated; copy or download it again."
        )
        return [Finding("error", "dim", message)]
    return []


def repetition_time(image: NiftiFile, tr: float | None) -> tuple[float, list[Finding]]:
    """Determine the seconds between volumes from header and argument, with findings.

    Parameters
    ----------
    image : NiftiFile
    tr : float or None
        Repetition time given by the caller, seconds.

    Returns
    -------
    float
        NaN if a finding is an error.
    list of Finding
    """
    low, high = TR_RANGE_S
    if tr is not None and not low <= tr <= high:
        raise InputError(f"load_volumes: tr must lie in {low}..{high} s, got {tr}.")
    if image.volume_axis > 4:
        along = f"the volumes of {image.stored_dims} lie along axis {image.volume_axis}"
        if tr is None:
            message = f"cannot be their spacing: {along}. Pass tr= in seconds."
            return float("nan"), [Finding("error", "pixdim[4]", message)]
        return tr, [Finding("note", "pixdim[4]", f"is not used: {along}; tr={tr:g} s is.")]
    code = int(image.header["xyzt_units"]) & 0x38
    unit, value = _UNIT_NAMES.get(code, "unknown"), float(image.header["pixdim"][4])
    stated = f"{value:g} {unit}"
    # the header stores float32, which is precise to about a microsecond
    header = round(value * _UNIT_SECONDS[code], 6) if code in _UNIT_SECONDS else float("nan")
    believable = np.isfinite(header) and low <= header <= high
    if tr is None:
        if not believable:
            return float("nan"), [
                Finding(
                    "error",
                    "pixdim[4]",
                    f"must be a repetition time of {low}..{high} s, got {stated}. "
                    "Pass tr= in seconds.",
                )
            ]
        if unit == "sec":
            return header, []
        how = "is read as seconds" if unit == "unknown" else f"is {header:g} s"
        return header, [Finding("note", "pixdim[4]", f"{stated} {how}.")]
    if not believable:
        return tr, [Finding("note", "pixdim[4]", f"{stated} is overruled by tr={tr:g} s.")]
    if abs(header - tr) <= TR_TOLERANCE_S:
        return tr, []
    if unit == "unknown":
        return tr, [Finding("note", "pixdim[4]", f"{stated} is overruled by tr={tr:g} s.")]
    return float("nan"), [
        Finding(
            "error",
            "pixdim[4]",
            f"must agree with tr={tr:g} s within 1 ms, got {stated}. {CORRECT_TR}",
        )
    ]
