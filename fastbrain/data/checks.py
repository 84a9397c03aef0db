"""What must hold before an image is believed; each check is a function that returns a finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError, VolumeError
from .nifti import NiftiFile, stored_bytes

TR_RANGE_S = (0.1, 30.0)
_MIN_DET = 1e-6  # mm³; a smaller voxel means a broken affine
_FORM_TOLERANCE_MM = 0.1
_TR_TOLERANCE_S = 1e-3
_UNIT_SECONDS = {0: 1.0, 8: 1.0, 16: 1e-3, 24: 1e-6}
_UNIT_NAMES = {0: "unknown", 8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}


@dataclass(frozen=True)
class Finding:
    """What a check has to say about a header.

    Parameters
    ----------
    level : str
        ``"error"``: the file is refused. ``"note"``: it is read, and this is how.
    field : str
        Header field.
    message : str
        What was expected, what was found, what to do.
    """

    level: str
    field: str
    message: str


def refuse(path: Path, findings: list[Finding]) -> None:
    """Raise one :class:`VolumeError` that lists every error among `findings`."""
    errors = [f"{f.field} {f.message}" for f in findings if f.level == "error"]
    if errors:
        raise VolumeError(f"load: {path}: {' Also: '.join(errors)}")


def check_storage(image: NiftiFile, *, dims: int, max_bytes: int) -> list[Finding]:
    """All that must hold before voxels are read: size, type, scaling, affine, file length."""
    checks: tuple[Callable[[], Finding | None], ...] = (
        lambda: _check_dims(image, dims),
        lambda: _check_dtype(image),
        lambda: _check_cap(image, max_bytes),
        lambda: _check_scaling(image),
        lambda: _check_affine(image),
        lambda: _check_length(image),
    )
    findings: list[Finding] = []
    for check in checks:
        finding = check()
        if finding is not None:
            findings.append(finding)
            # what follows would only repeat the same damage in other words
            if finding.level == "error":
                break
    return findings


def best_affine(image: NiftiFile) -> tuple[npt.NDArray[np.float64], list[Finding]]:
    """Voxel to world: sform, else qform, else voxel sizes alone; with notes on the choice."""
    sform, qform = image.transform("sform"), image.transform("qform")
    notes: list[Finding] = []
    if sform is not None and qform is not None:
        x, y, z = (n - 1 for n in image.dims[:3])
        corners = np.array([[i, j, k, 1] for i in (0, x) for j in (0, y) for k in (0, z)])
        with np.errstate(all="ignore"):
            off = float(np.abs(corners @ (sform - qform).T).max())
        if not off <= _FORM_TOLERANCE_MM:
            notes.append(
                Finding("note", "qform", f"differs from sform by {off:.3g} mm; sform is used.")
            )
    chosen = sform if sform is not None else qform
    if chosen is None:
        size = [float(v) for v in image.header["pixdim"][1:4]]
        chosen = np.diag([*size, 1.0])
        notes.append(
            Finding("note", "sform_code", "and qform_code are 0; only voxel sizes are known.")
        )
    return chosen, notes


def _check_dims(image: NiftiFile, dims: int) -> Finding | None:
    shape = image.dims
    if len(shape) == dims and min(shape) >= 1:
        return None
    hint = "The file's dim field is damaged."
    if dims == 4 and len(shape) == 3:
        hint = "This is a single volume; a run has a time axis (fslmerge or nibabel.concat_images)."
    return Finding("error", "dim", f"must be {dims} sizes >= 1, got {shape}. {hint}")


def _check_dtype(image: NiftiFile) -> Finding | None:
    if image.dtype is not None:
        return None
    code = int(image.field("datatype"))
    return Finding(
        "error", "datatype", f"must be an integer or float up to 64 bit, got code {code}."
    )


def _check_cap(image: NiftiFile, max_bytes: int) -> Finding | None:
    if image.nbytes <= max_bytes:
        return None
    return Finding(
        "error",
        "dim",
        f"must imply at most {max_bytes} bytes, got {image.nbytes} from {image.dims}. "
        "Pass max_bytes= if the image is really that large.",
    )


def _check_scaling(image: NiftiFile) -> Finding | None:
    slope, inter = image.scaling()
    if np.isfinite(slope) and np.isfinite(inter):
        return None
    return Finding("error", "scl_slope", f"and scl_inter must be finite, got {slope} and {inter}.")


def _check_affine(image: NiftiFile) -> Finding | None:
    affine, _ = best_affine(image)
    with np.errstate(all="ignore"):
        det = float(np.linalg.det(affine[:3, :3])) if np.isfinite(affine).all() else np.nan
    if np.isfinite(det) and abs(det) > _MIN_DET:
        return None
    return Finding(
        "error", "affine", f"must be finite with |det| > {_MIN_DET} mm³, got det {det:.3g}."
    )


def _check_length(image: NiftiFile) -> Finding | None:
    offset = image.field("vox_offset")
    least = 0 if image.path != image.data else int(image.header["sizeof_hdr"])
    _, most = stored_bytes(image)
    if not (np.isfinite(offset) and least <= offset <= most and offset == int(offset)):
        return Finding("error", "vox_offset", f"must lie in {least}..{most}, got {offset}.")
    if int(offset) + image.nbytes > most:
        return Finding(
            "error",
            "dim",
            f"promises {image.nbytes} bytes of voxels, but {image.data.name} can hold "
            f"{most - int(offset)}. The file is truncated; copy or download it again.",
        )
    return None


def repetition_time(image: NiftiFile, tr: float | None) -> tuple[float, list[Finding]]:
    """Seconds between volumes, from header and argument, and how they were reconciled.

    Parameters
    ----------
    image : NiftiFile
    tr : float or None
        What the caller says, seconds.

    Returns
    -------
    float
        NaN where a finding is an error.
    list of Finding
    """
    low, high = TR_RANGE_S
    if tr is not None and not low <= tr <= high:
        raise InputError(f"load_volumes: tr must lie in {low}..{high} s, got {tr}.")
    code = int(image.header["xyzt_units"]) & 0x38
    unit, value = _UNIT_NAMES.get(code, "unknown"), float(image.header["pixdim"][4])
    stated = f"{value:g} {unit}"
    # float32 in the header: microseconds are all it can mean
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
    if abs(header - tr) <= _TR_TOLERANCE_S:
        return tr, []
    if unit == "unknown":
        return tr, [Finding("note", "pixdim[4]", f"{stated} is overruled by tr={tr:g} s.")]
    return float("nan"), [
        Finding(
            "error",
            "pixdim[4]",
            f"must agree with tr={tr:g} s within 1 ms, got {stated}. Correct the header or the "
            "runs table.",
        )
    ]
