"""Runs that are left out of a store, by declared limits or by name, each with its reason.

Head motion and names are known before a voxel is converted; tSNR and DVARS after a run was cleaned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..._arguments import checked
from ...errors import CohortError, InputError, some
from ..readers.runs_table import RunRecord
from ..readers.volumes import Volumes
from .denoising.table import RunConfounds, read_motion

# limit: column of the table of quality, its words and unit, and the side that is left out
_OF_QUALITY = {
    "least_tsnr": ("tsnr", "tSNR", "", "below"),
    "mean_dvars": ("dvars_mean", "mean DVARS", " %", "above"),
    "max_dvars": ("dvars_max", "largest DVARS", " %", "above"),
}


@checked(
    least={
        **{"mean_fd_mm": 0, "max_fd_mm": 0, "censored_share": 0},
        **{"least_tsnr": 0, "mean_dvars": 0, "max_dvars": 0},
    }
)
@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """Limits beyond which a run is left out; what is left out is listed with its reason.

    Parameters
    ----------
    mean_fd_mm, max_fd_mm : float, optional
        Mean and largest framewise displacement, mm.
    censored_share : float, optional
        Share of censored volumes, 0..1.
    runs : mapping of str to str
        Reason by run id, for runs that are left out by name.
    least_tsnr : float, optional
        Smallest tSNR, the median over voxels, of the cleaned signal.
    mean_dvars, max_dvars : float, optional
        Mean and largest DVARS before cleaning, % of the mean brightness.

    Raises
    ------
    InputError
        A limit is out of range.
    """

    mean_fd_mm: float | None = None
    max_fd_mm: float | None = None
    censored_share: float | None = None
    runs: Mapping[str, str] = field(default_factory=dict)
    least_tsnr: float | None = None
    mean_dvars: float | None = None
    max_dvars: float | None = None

    def __post_init__(self) -> None:
        if self.censored_share is not None and not 0 <= self.censored_share <= 1:
            raise InputError(
                f"Exclusion: censored_share must be in 0..1, got {self.censored_share}."
            )

    @property
    def by_motion(self) -> bool:
        """Whether the confounds tables of all runs are needed."""
        return self.mean_fd_mm is not None or self.max_fd_mm is not None

    @property
    def of_quality(self) -> dict[str, float]:
        """The limits that are compared after a run was cleaned, those that are set."""
        limits = {name: getattr(self, name) for name in _OF_QUALITY}
        return {name: limit for name, limit in limits.items() if limit is not None}

    def describe(self) -> str:
        """Describe the limits of quality."""
        parts = []
        for name, limit in self.of_quality.items():
            _, words, unit, side = _OF_QUALITY[name]
            parts.append(f"{words} {side} {limit:g}{unit}")
        return " or ".join(parts)

    def unfit(self, run_id: str, quality: Mapping[str, float | None]) -> str:
        """Return the reason to leave out a run by its measured quality; "" for none.

        Parameters
        ----------
        run_id : str
        quality : mapping
            Columns ``tsnr``, ``dvars_mean`` and ``dvars_max`` of ``quality.tsv``.

        Raises
        ------
        CohortError
            A limit concerns what the run does not have.
        """
        parts = []
        for name, limit in self.of_quality.items():
            column, words, unit, side = _OF_QUALITY[name]
            value = quality.get(column)
            if value is None:
                raise CohortError(
                    f"exclude: {run_id} must have a {words} for its limit of {limit:g}{unit}, got "
                    "none: its volumes are centred or have no brightness. Leave the limit out, or "
                    "the run by name (--exclude RUN:REASON)."
                )
            if value < limit if side == "below" else value > limit:
                parts.append(f"{words} {value:.4g}{unit}, {side} {limit:g}{unit}")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Convert to plain JSON values."""
        return asdict(self) | {"runs": dict(self.runs)}


def named_out(
    runs: Sequence[RunRecord], exclusion: Exclusion | None
) -> tuple[tuple[RunRecord, ...], dict[str, str]]:
    """Leave out the runs that are excluded by name; return the others, and the reasons.

    Raises
    ------
    CohortError
        There is no such run, or none is left.
    """
    if exclusion is None or not exclusion.runs:
        return tuple(runs), {}
    unknown = sorted(set(exclusion.runs) - {run.run_id for run in runs})
    if unknown:
        raise CohortError(
            f"exclude: runs must name runs of the cohort, got {some(unknown)}. Its first run is "
            f"{runs[0].run_id}."
        )
    reasons = {name: reason or "left out by name" for name, reason in exclusion.runs.items()}
    kept = tuple(run for run in runs if run.run_id not in reasons)
    check_left(kept, reasons)
    return kept, reasons


def beyond_limits(
    runs: Sequence[RunRecord],
    headers: Sequence[Volumes],
    exclusion: Exclusion | None,
    confounds: Mapping[str, RunConfounds],
) -> dict[str, str]:
    """Return the runs beyond the limits, with the reason of each.

    Raises
    ------
    CohortError
        A limit needs head motion or censored volumes that the runs do not state, or no run is
        left.
    """
    if exclusion is None:
        return {}
    if exclusion.censored_share is not None and not confounds:
        raise CohortError(
            "exclude: a limit on censored volumes must come with a threshold for them, got none. "
            "Give one (--confounds fd:0.5)."
        )
    if exclusion.by_motion:
        without = [run.run_id for run in runs if run.confounds is None]
        if without:
            raise CohortError(
                f"exclude: every run must have a confounds table for a limit on framewise "
                f"displacement, got none for {some(without, 20)}. Fetch them, or leave runs out by "
                "name (--exclude RUN:REASON)."
            )
    found = {}
    for run, volumes in zip(runs, headers, strict=True):
        reason = _reason(run, volumes.shape[0], exclusion, confounds.get(run.run_id))
        if reason:
            found[run.run_id] = reason
    check_left([run for run in runs if run.run_id not in found], found)
    return found


def _reason(
    run: RunRecord, n_volumes: int, exclusion: Exclusion, confounds: RunConfounds | None
) -> str:
    parts = []
    if exclusion.by_motion:
        assert run.confounds is not None
        fd = read_motion(run.confounds, n_volumes).fd
        if fd is None:
            raise CohortError(
                f"exclude: {run.confounds} must have the column framewise_displacement, got none. "
                "Run fMRIPrep again, or leave runs out by name (--exclude RUN:REASON)."
            )
        # the first volume has no displacement
        mean, most = float(fd[1:].mean()) if len(fd) > 1 else 0.0, float(fd.max())
        for limit, value, name in (
            (exclusion.mean_fd_mm, mean, "mean"),
            (exclusion.max_fd_mm, most, "largest"),
        ):
            if limit is not None and value > limit:
                parts.append(f"{name} framewise displacement {value:.3f} mm, above {limit:g} mm")
    if exclusion.censored_share is not None and confounds is not None:
        share = float(confounds.censored.mean())
        if share > exclusion.censored_share:
            parts.append(
                f"{share:.0%} of the volumes censored, above {exclusion.censored_share:.0%}"
            )
    return "; ".join(parts)


def check_left(kept: Sequence[RunRecord], reasons: Mapping[str, str]) -> None:
    """Raise a :class:`CohortError` with the reasons if no run is left."""
    if not kept:
        shown = some([f"{name} ({why})" for name, why in reasons.items()])
        raise CohortError(f"exclude: a run must be left, got none: {shown}. Change the limits.")
