"""Quality of the recording of a run, measured while its voxels are converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..._digests import read_sealed
from ..._rules import list_of, none_or, number, table_of
from ...errors import CohortError, StoreError
from ..readers.events import Trial
from ..readers.runs_table import RunRecord
from ..readers.tables import tsv_text
from .denoising.table import Motion, read_motion
from .design import removed_variance, run_design
from .detrend import CleanRun
from .manifest import Manifest
from .store import VoxelStore

QUALITY = "quality.tsv"
_DUMMY_SD = 5.0  # robust standard deviations above the median brightness
_DUMMY_SHARE = 0.01  # and of that median: slow drifts are smaller
_MAD = 1.4826  # standard deviation of a normal distribution by its median absolute deviation
_FENCE = 1.5  # interquartile ranges above the third quartile

# column of the table, and its meaning
COLUMNS: dict[str, str] = {
    "tsnr": "median over voxels of mean / standard deviation of the cleaned signal",
    "fd_mean": "mean framewise displacement, mm (confounds table)",
    "fd_max": "largest framewise displacement, mm",
    "dvars_mean": "mean DVARS before cleaning, % of the mean brightness",
    "dvars_max": "largest DVARS, %",
    "spikes": "volumes with DVARS above the third quartile + 1.5 interquartile ranges",
    "dummy_scans": "volumes before the steady state at the start of the run",
    "coverage": "share of the brain voxels of the store with a signal",
    "never_finite": "brain voxels that are NaN or infinite in all volumes",
    "constant": "brain voxels without variation, or with a mean too low for a percentage",
    "clipped": "values that were clipped to the range of int16",
    "censored": "share of censored volumes",
    "confounds": "confounds that were regressed out",
    "design_lost": "share of the variance that the run's own events predict, removed with drifts "
    "and confounds",
}


@dataclass(frozen=True, eq=False)
class RunQuality:
    """Quality of a run.

    Parameters
    ----------
    row : dict
        Value of each of ``COLUMNS``; None where it is not known.
    traces : dict
        ``"fd"`` (mm) and ``"dvars"`` (%) of every volume, or None.
    notes : list of str
        Why head motion is not known, if a table was given.
    """

    row: dict[str, float | int | None]
    traces: dict[str, list[float] | None]
    notes: list[str]


def quality_of(
    clean: CleanRun,
    run: RunRecord,
    trials: Sequence[Trial],
    censored: npt.NDArray[np.bool_],
    *,
    tr: float,
    onset_offset_s: float,
) -> RunQuality:
    """Summarise the quality of a run.

    Parameters
    ----------
    clean : CleanRun
    run : RunRecord
    trials : sequence of Trial
        Of the run.
    censored : ndarray, (T,) bool
    tr : float
        Seconds.
    onset_offset_s : float
        Added to every onset, seconds; the time of the run's first volume is subtracted here.
    """
    size = len(clean.tsnr)
    alive = clean.tsnr > 0
    brightness = float(np.median(clean.brightness))
    # a run that was centred before has no brightness to relate changes to
    dvars = 100 * np.sqrt(clean.changes[1:]) / brightness if brightness > 0 else None
    motion, notes = _motion_of(run, len(clean.values))
    fd = None if motion is None or motion.fd is None else motion.fd[1:]
    steady = 0 if motion is None else motion.non_steady
    row: dict[str, float | int | None] = {
        "tsnr": _round(np.median(clean.tsnr[alive]) if alive.any() and brightness > 0 else None),
        "fd_mean": _round(fd.mean() if fd is not None and len(fd) else None),
        "fd_max": _round(fd.max() if fd is not None and len(fd) else None),
        "dvars_mean": _round(None if dvars is None else dvars.mean()),
        "dvars_max": _round(None if dvars is None else dvars.max()),
        "spikes": int(spikes(clean.changes[1:]).sum()),
        "dummy_scans": max(steady, dummy_scans(clean.brightness)),
        "coverage": _round(1 - clean.dead / size),
        "never_finite": clean.never_finite,
        "constant": clean.dead - clean.never_finite,
        "clipped": clean.clipped,
        "censored": _round(censored.mean()),
        "confounds": clean.projection.confounds,
        "design_lost": _round(
            _design_lost(clean, trials, ~censored, tr, onset_offset_s - run.start_time)
        ),
    }
    traces = {
        "fd": None if motion is None or motion.fd is None else motion.fd.round(4).tolist(),
        "dvars": None if dvars is None else [0.0, *dvars.round(4).tolist()],
    }
    return RunQuality(row, traces, notes)


def read_traces(root: Path, run_id: str) -> dict[str, list[float] | None]:
    """Read head motion and DVARS of every volume of a run; empty where a store has no record.

    Raises
    ------
    StoreError
        The record is damaged.
    """
    path = root / "runs" / f"{run_id}.json"
    if not path.is_file():
        return {}
    found = read_sealed(path, error=StoreError).get("traces")
    if not table_of(none_or(list_of(number)))(found):
        return {}
    return dict(found)  # type: ignore[arg-type]


def spikes(changes: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Find volumes with an unusually large change, by the fence of FSL's motion outliers.

    Parameters
    ----------
    changes : ndarray, (T,) float64
        Squared DVARS.

    Returns
    -------
    ndarray, (T,) bool
    """
    dvars = np.sqrt(changes)
    low, high = np.quantile(dvars, (0.25, 0.75)) if len(dvars) else (0.0, 0.0)
    return np.asarray(dvars > high + _FENCE * (high - low))


def dummy_scans(brightness: npt.NDArray[np.float64]) -> int:
    """Count the volumes at the start of a run that are brighter than in the steady state.

    Parameters
    ----------
    brightness : ndarray, (T,) float64
        Mean intensity of every volume.
    """
    middle = float(np.median(brightness))
    spread = _MAD * float(np.median(np.abs(brightness - middle)))
    limit = middle + max(_DUMMY_SD * spread, _DUMMY_SHARE * abs(middle))
    above = brightness > limit
    return len(above) if above.all() else int(np.argmin(above))


def quality_table(info: Manifest) -> str:
    """Format the quality of all runs as a table, those that were left out with the reason."""
    columns = ["run", "subject", "volumes", *COLUMNS, "included", "reason"]
    rows = [[name, *_cells(own), "yes", "n/a"] for name, own in info.runs.items()]
    for name, why in info.excluded.items():
        rows.append([name, *_cells(info.excluded_quality.get(name)), "no", " ".join(why.split())])
    return tsv_text(columns, rows)


def _cells(facts: Mapping[str, Any] | None) -> list[str]:
    """Format subject, volumes and quality of a run; None for one that was not measured."""
    if facts is None:
        return ["n/a"] * (2 + len(COLUMNS))
    values = [_cell(facts["quality"].get(name)) for name in COLUMNS]
    return [facts["subject"], str(facts["n_volumes"]), *values]


def stored_table(store: VoxelStore) -> str:
    """Format the quality of the runs of a store, as in its ``quality.tsv``."""
    return quality_table(store.info)


def _motion_of(run: RunRecord, n_volumes: int) -> tuple[Motion | None, list[str]]:
    if run.confounds is None:
        return None, []
    try:
        return read_motion(run.confounds, n_volumes), []
    except CohortError as error:
        # nothing but this row needs the table where no confounds are declared
        return None, [f"confounds table not read for the quality of the run: {error}"]


def _design_lost(
    clean: CleanRun,
    trials: Sequence[Trial],
    kept: npt.NDArray[np.bool_],
    tr: float,
    onset_offset_s: float,
) -> float | None:
    if not any(t.duration or t.text for t in trials):
        return None
    design = run_design(
        trials,
        n_volumes=len(kept),
        tr=tr,
        key=_key_of(trials),
        onset_offset_s=onset_offset_s,
    )
    lost, total = removed_variance(design.responses[kept], clean.projection.basis[kept])
    return float(lost.sum() / total.sum()) if total.sum() > 0 else None


def _key_of(trials: Sequence[Trial]) -> Any:
    if len({t.category for t in trials}) > 1:
        return lambda t: t.category
    return lambda t: t.stimulus or t.trial_id


def _round(value: float | np.floating[Any] | None) -> float | None:
    return None if value is None else float(f"{float(value):.5g}")


def _cell(value: Any) -> str:
    return "n/a" if value is None else f"{value:g}"
