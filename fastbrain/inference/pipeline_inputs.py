"""Inputs of a pipeline: recordings, stores and studies, checked before any work."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from .._arguments import shown
from .._run_kind import RunKind
from ..data import ConnectomeStudy, RestingStudy, RunRecord, Volumes, VoxelStore
from ..data.store.planning_like import scan_records
from ..data.studies.connectome_study import read_rest
from ..errors import InputError

Study: TypeAlias = RestingStudy | ConnectomeStudy
_STUDIES = "a study of people or its folder"
_RECORDINGS = "recordings (NIfTI files, arrays, Volumes, RunRecord) or stores"
# types that a NIfTI file holds as they are
_STORED = ("int16", "uint8", "uint16", "int32", "float32")


@dataclass(frozen=True)
class Inputs:
    """Inputs of one call, all of one of these kinds.

    Parameters
    ----------
    scans : tuple of Path, ndarray or RunRecord
    stores : tuple of str or Path
    studies : tuple of RestingStudy or ConnectomeStudy
    """

    scans: tuple[Path | RunRecord | npt.NDArray[Any], ...] = ()
    stores: tuple[str | Path, ...] = ()
    studies: tuple[Study, ...] = ()


def sort_inputs(inputs: Any, *, kind: RunKind) -> Inputs:
    """Sort the inputs of a call by their kinds, and open studies.

    Raises
    ------
    InputError
        There is no input, one is of a kind that the system does not read, or recordings and stores
        are mixed.
    """
    given = list(inputs) if isinstance(inputs, list | tuple) else [inputs]
    if not given:
        raise InputError(f"pipeline: inputs must hold {_reads(kind)}, got none.")
    if kind == "vq-lm":
        return Inputs(studies=tuple(_study(each) for each in given))
    scans: list[Path | RunRecord | npt.NDArray[Any]] = []
    stores: list[str | Path] = []
    for each in given:
        if isinstance(each, VoxelStore):
            stores.append(each.path)
        elif isinstance(each, RunRecord):
            scans.append(each)
        elif isinstance(each, Volumes):
            scans.append(each.path)
        elif isinstance(each, str | Path) and ("://" in str(each) or _is_folder(each)):
            stores.append(each)
        elif isinstance(each, str | Path) and _is_file(each):
            scans.append(Path(each))
        elif hasattr(each, "__array__"):
            scans.append(_volumes(each))
        else:
            raise InputError(
                f"pipeline: inputs must be {_reads(kind)} that exist, got {shown(each)}. Name one "
                "or a list of them."
            )
    if scans and stores:
        raise InputError(
            "pipeline: inputs must be recordings alone or stores alone, got both. Call it once for "
            "each."
        )
    return Inputs(tuple(scans), tuple(stores))


@contextmanager
def records_of(
    found: Inputs,
    *,
    events: str | Path | Sequence[str | Path],
    tr: float | None,
    affine: Any,
    subject: str,
) -> Iterator[tuple[RunRecord, ...]]:
    """Make the records of recordings; arrays are files while the block runs.

    Raises
    ------
    InputError
        An array has no affine or repetition time, an affine is not one or is given for files, or
        values that a record states itself are given beside it.
    CohortError
        As in :func:`scan_records`.
    """
    tables = [events] if isinstance(events, str | Path) else list(events)
    own = [scan for scan in found.scans if isinstance(scan, RunRecord)]
    if own and (tables or tr is not None or subject or len(own) < len(found.scans)):
        raise InputError(
            "pipeline: inputs must be run records alone, without events, tr and subject, which "
            "they state, got more. Call it once for the records."
        )
    if own:
        yield tuple(own)
        return
    arrays = [scan for scan in found.scans if isinstance(scan, np.ndarray)]
    place = None if affine is None else _affine(affine)
    if arrays and (place is None or tr is None):
        missing = "affine" if place is None else "tr"
        raise InputError(
            f"pipeline: {missing} must be given for arrays, got none. An affine maps voxels "
            "(x, y, z) to world mm; tr is the repetition time in seconds."
        )
    if place is not None and not arrays:
        raise InputError("pipeline: affine must come with an array, got files, which have theirs.")
    import nibabel as nib

    with tempfile.TemporaryDirectory(prefix="fastbrain-") as folder:
        paths = []
        for i, scan in enumerate(found.scans):
            if isinstance(scan, np.ndarray):
                image = nib.Nifti1Image(scan.T, place)
                image.header.set_xyzt_units("mm", "sec")
                image.header["pixdim"][4] = tr
                scan = Path(folder) / f"volumes-{i + 1}.nii"
                nib.save(image, scan)
            paths.append(scan)
        yield scan_records(paths, tables, subject=subject, tr=tr, named=not arrays)


def _reads(kind: RunKind) -> str:
    return _STUDIES if kind == "vq-lm" else _RECORDINGS


def _study(given: Any) -> Study:
    if isinstance(given, RestingStudy | ConnectomeStudy):
        return given
    if isinstance(given, str | Path) and _is_folder(given):
        return read_rest(given)
    raise InputError(
        f"pipeline: inputs must be {_STUDIES} for a run of vq-lm, got {shown(given)}. "
        "fastbrain.data.read_resting and read_connectomes read one."
    )


def _volumes(given: Any) -> npt.NDArray[Any]:
    if isinstance(given, np.ma.MaskedArray):  # NumPy would leave its mask out
        raise InputError("pipeline: an array must be a plain one, got a masked one. Fill it.")
    try:
        values = np.asarray(given)
    except Exception as error:  # a tensor that needs a gradient or lies on a GPU, a foreign class
        raise InputError(
            f"pipeline: inputs must be arrays that NumPy reads, got {shown(given)}: {error}. Pass "
            "a NumPy array."
        ) from error
    if values.ndim != 4 or not values.size or values.dtype.kind not in "iuf":
        raise InputError(
            f"pipeline: an array must be volumes (T, Z, Y, X) of numbers, got {values.shape} "
            f"{values.dtype}."
        )
    return values if values.dtype.name in _STORED else values.astype(np.float32)


def _affine(given: Any) -> npt.NDArray[np.float64]:
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"pipeline: affine must be numbers (4, 4), got {shown(given)}.") from error
    if values.shape != (4, 4) or not np.isfinite(values).all():
        raise InputError(f"pipeline: affine must be (4, 4) finite numbers, got {shown(given)}.")
    if values[3].tolist() != [0, 0, 0, 1] or abs(np.linalg.det(values[:3, :3])) < 1e-6:
        raise InputError(
            "pipeline: affine must map voxels to distinct points, with a last row 0 0 0 1, got "
            f"{values.tolist()}."
        )
    return values


def _is_folder(name: str | Path) -> bool:
    return _safe(name) and Path(name).is_dir()


def _is_file(name: str | Path) -> bool:
    return _safe(name) and Path(name).is_file()


def _safe(name: str | Path) -> bool:
    # no system call takes a NUL
    return bool(str(name)) and "\0" not in str(name)
