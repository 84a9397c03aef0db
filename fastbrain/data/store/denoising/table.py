"""Read the confounds table of a run: regressors of a strategy, censored volumes, head motion."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...._io import read_json
from ....errors import CohortError, some
from ...readers.runs_table import RunRecord
from ...readers.tables import Row, number_of, read_tsv
from .censoring import censored_volumes
from .strategy import Denoising

Array = npt.NDArray[np.float64]
FD, STD_DVARS = "framewise_displacement", "std_dvars"
_SUFFIXES = {
    "basic": ("",),
    "power2": ("", "_power2"),
    "derivatives": ("", "_derivative1"),
    "full": ("", "_derivative1", "_power2", "_derivative1_power2"),
}
_SERIES = {
    "motion": ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"),
    "wm_csf": ("csf", "white_matter"),
    "global_signal": ("global_signal",),
}
_NON_STEADY = "non_steady_state_outlier"


@dataclass(frozen=True, eq=False)
class RunConfounds:
    """Confounds of one run.

    Parameters
    ----------
    names : tuple of str, (K,)
    values : ndarray, (T, K) float64
        Regressors; the missing first value of a derivative is that of the second volume.
    censored : ndarray, (T,) bool
    """

    names: tuple[str, ...]
    values: Array
    censored: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class RunNuisance:
    """What a plan keeps of the confounds of a run.

    Parameters
    ----------
    censored : ndarray, (T,) bool
    regressors : int
        Confounds that are regressed out; those that add nothing do not count.
    digest : str
        sha256 of regressors and censored volumes.
    """

    censored: npt.NDArray[np.bool_]
    regressors: int
    digest: str

    @classmethod
    def of(cls, confounds: RunConfounds, regressors: int) -> RunNuisance:
        """Summarise the confounds of a run."""
        content = confounds.values.tobytes() + confounds.censored.tobytes()
        return cls(confounds.censored, regressors, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, eq=False)
class Motion:
    """Head motion and signal changes of a run, as its confounds table states them.

    Parameters
    ----------
    fd : ndarray, (T,) float64 or None
        Framewise displacement, mm; 0 for the first volume.
    std_dvars : ndarray, (T,) float64 or None
        Standardised DVARS; 0 for the first volume.
    non_steady : int
        Volumes before the steady state.
    """

    fd: Array | None
    std_dvars: Array | None
    non_steady: int


def read_confounds_of(run: RunRecord, strategy: Denoising, n_volumes: int) -> RunConfounds:
    """Read the regressors of a run and the volumes that are censored.

    Parameters
    ----------
    run : RunRecord
        Its `confounds` is a table as fMRIPrep writes it, with the JSON beside it for aCompCor.
    strategy : Denoising
    n_volumes : int

    Raises
    ------
    CohortError
        The run has no table, or the table lacks a column, a value or a row.
    """
    if run.confounds is None:
        raise CohortError(f"denoising: {run.run_id} must have a confounds table, got none.")
    path = run.confounds
    columns, rows = _rows(path, n_volumes)
    names = _wanted(path, columns, strategy)
    absent = [name for name in names if name not in columns]
    if absent:
        raise CohortError(
            f"denoising: {path} must have the columns of the strategy, got none named "
            f"{some(absent)}. Choose other confounds, or run fMRIPrep again."
        )
    values = [_column(path, rows, name) for name in names]
    censored = np.zeros(n_volumes, dtype=bool)
    if strategy.censors:
        motion = _motion(path, columns, rows)
        censored = censored_volumes(strategy, path, motion.fd, motion.std_dvars)
        for name in columns:
            if name.startswith(_NON_STEADY):
                censored |= _column(path, rows, name) != 0
    stacked = np.stack(values, axis=1) if values else np.zeros((n_volumes, 0))
    return RunConfounds(tuple(names), stacked, censored)


def read_motion(path: Path, n_volumes: int) -> Motion:
    """Read head motion and DVARS from a confounds table, where it has them.

    Raises
    ------
    CohortError
        The table is damaged, or has another number of rows than the run has volumes.
    """
    return _motion(path, *_rows(path, n_volumes))


def _rows(path: Path, n_volumes: int) -> tuple[list[str], list[Row]]:
    columns, rows = read_tsv(path)
    if len(rows) != n_volumes:
        raise CohortError(
            f"denoising: {path} must have a row for each of the {n_volumes} volumes of its run, "
            f"got {len(rows)}. Is it the table of another run?"
        )
    return columns, rows


def _motion(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> Motion:
    known: dict[str, Array | None] = {}
    for name in (FD, STD_DVARS):
        known[name] = None
        if name in columns:
            known[name] = _column(path, rows, name, first=0.0)
    steady = sum(name.startswith(_NON_STEADY) for name in columns)
    return Motion(known[FD], known[STD_DVARS], steady)


def _wanted(path: Path, columns: Sequence[str], strategy: Denoising) -> list[str]:
    names = []
    for term, series in _SERIES.items():
        terms = getattr(strategy, term)
        if terms is not None:
            names += [f"{one}{suffix}" for one in series for suffix in _SUFFIXES[terms]]
    if strategy.compcor is not None:
        names += _components(path, columns, strategy)
    if strategy.cosine:
        cosines = [name for name in columns if name.startswith("cosine")]
        if not cosines:
            raise CohortError(
                f"denoising: {path} must have the columns cosine00, ... for the term cosine, got "
                "none; fMRIPrep writes none for runs shorter than 64 s. Leave the term out: the "
                "store's own filter (--high-pass 128) removes such drifts from every run."
            )
        names += cosines
    return names


def _components(path: Path, columns: Sequence[str], strategy: Denoising) -> list[str]:
    """Choose CompCor components by the mask that the JSON beside the table states."""
    kind = strategy.compcor or ""
    most = None if strategy.n_compcor == "all" else int(strategy.n_compcor)
    found: list[str] = []
    if "temporal" in kind:
        found += [name for name in columns if name.startswith("t_comp_cor_")][:most]
    if "anat" in kind:
        sidecar = path.with_suffix(".json")
        about = read_json(sidecar)
        anatomical = [name for name in columns if re.match("[awc]_comp_cor_", name)]
        masks = ("combined",) if "combined" in kind else ("WM", "CSF")
        for mask in masks:
            own = [name for name in anatomical if _mask(about, name) == mask]
            if not own:
                other = "separated" if mask == "combined" else "combined"
                raise CohortError(
                    f"denoising: {sidecar} must name CompCor components of the mask {mask!r}, got "
                    f"none. Choose other components (compcor:anat_{other}), or none."
                )
            found += own[:most]
    if not found:
        raise CohortError(
            f"denoising: {path} must have CompCor components, got none. Choose other confounds."
        )
    return found


def _mask(about: Any, name: str) -> str:
    entry = about.get(name) if isinstance(about, dict) else None
    return str(entry.get("Mask", "")) if isinstance(entry, dict) else ""


def _column(path: Path, rows: Sequence[Row], name: str, *, first: float | None = None) -> Array:
    """Read a column; a missing first value is `first`, or that of the second row."""
    cells = [number_of(row[name], where=f"{row.where} {name}") for row in rows]
    if cells[0] is None:
        cells[0] = first if first is not None else cells[1] if len(cells) > 1 else None
    missing = [i for i, cell in enumerate(cells) if cell is None]
    if missing:
        raise CohortError(
            f"denoising: {path} must have a number in every row of {name} after the first, got "
            f"none in {len(missing)} rows, first line {rows[missing[0]].line}. Choose other "
            "confounds, or run fMRIPrep again."
        )
    return np.array(cells, dtype=np.float64)
