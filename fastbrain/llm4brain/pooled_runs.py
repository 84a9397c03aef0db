"""Scores of several evaluated runs in one table: the folds of a cross-validation, or grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .._io import read_json, write_atomic, write_json
from .._runfiles import read_metrics
from ..evaluation.analyses.by_subject import mean_over_people, subject_table
from ..evaluation.report.pooled import Pooled, pool_folds
from ..evaluation.scores import Score
from .joint_run import grids_of_run

SCORES = "scores.json"


def pool_runs(
    runs: Sequence[Path],
    units: Mapping[str, str],
    out: Path,
    *,
    unit: str,
    people: bool,
    seed: int,
    part: str = "fold",
    tested: Mapping[str, Sequence[str]] | None = None,
) -> Pooled:
    """Pool the samples of runs and write ``scores.json`` and ``units.md``.

    Parameters
    ----------
    runs, units, unit, seed, part
        As in :func:`pool_folds`.
    out : Path
        Folder of the files.
    people : bool
        Whether to add the scores of each person of the runs, also in ``subjects.md``.
    tested : mapping of str to sequence of str, optional
        See :class:`Pooled`.
    """
    pooled = pool_folds(runs, units, unit=unit, seed=seed, part=part)
    pooled = replace(pooled, tested=tested or {})
    if people:
        rows = _of_people(runs, seed)
        known = {(s.metric, s.control, s.group) for s in rows}
        more = [s for s in pooled.scores if (s.metric, s.control, s.group) not in known]
        pooled = replace(pooled, scores=(*rows, *more))
        write_atomic(out / "subjects.md", subject_table(rows) + "\n")
    write_json(out / SCORES, [score.to_json() for score in pooled.scores])
    write_atomic(out / "units.md", pooled.table() + "\n")
    return pooled


def scored_folders(run: Path) -> tuple[Path, ...]:
    """Return the folders with the evaluations of a run: its own, or those of its grids."""
    return tuple(grids_of_run(run, function="leave_out").values()) or (run,)


def is_scored(run: Path) -> bool:
    """Whether a run was evaluated."""
    return (run / "metrics.json").is_file() or (run / SCORES).is_file()


def scores_of(run: Path) -> list[Score]:
    """Read the scores of an evaluated run; of several grids, the pooled ones."""
    if (run / SCORES).is_file():
        return [Score.from_json(row) for row in read_json(run / SCORES)]
    rows = read_metrics(run / "metrics.json", function="leave_out")["scores"]
    return [Score.from_json(row) for row in rows]


def _of_people(runs: Sequence[Path], seed: int) -> list[Score]:
    """Scores of single people from all runs, and the mean of their pairwise accuracies."""
    found = [s for run in runs for s in scores_of(run) if s.group.startswith("subject ")]
    return [*found, *mean_over_people(found, seed=seed)]
