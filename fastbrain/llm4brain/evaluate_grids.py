"""Evaluate a run on several voxel grids: each person on the own grid, then all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .._arguments import checked
from .._progress import say
from .._runfiles import read_manifest
from ..data.store.manifest import GRIDS
from ..errors import InputError
from ..evaluation.analyses.partners import have_partners_across_runs
from ..evaluation.report.pooled import Pooled
from ..evaluation.run_store import open_store
from .evaluate import evaluate_run
from .joint_run import grids_of_run
from .pooled_runs import pool_runs


@checked
def evaluate_grids(
    run: str | Path,
    *,
    store: str | Path | None = None,
    within_runs: bool = False,
    seed: int = 0,
    **options: Any,
) -> Pooled:
    """Evaluate every grid of a run, and pool the samples of all.

    Each grid is evaluated by itself, with controls, linear baseline and noise ceiling on its own
    voxels; partners of a derangement are windows of the same person. The results of a grid go to
    ``grids/NAME`` of the run, pooled ones to ``scores.json``, ``units.md`` and ``subjects.md``.

    Parameters
    ----------
    run : str or Path
        Run folder of a training on a collection of stores.
    store : str or Path, optional
        Current path of the collection; default: as recorded.
    within_runs : bool
        Whether partners are of the same run; this is also so for a person with one test run.
    seed : int
    **options
        Further arguments of :func:`fastbrain.evaluate_run`, for every grid.

    Returns
    -------
    Pooled
        Units are runs: intervals resample them and p is from their sign flips. Scores of each
        person have the group ``"subject LABEL"``.

    Raises
    ------
    InputError
        The run is of one grid.
    CheckpointError
        See :func:`fastbrain.open_run`.
    """
    folders = grids_of_run(run, function="evaluate_grids")
    if not folders:
        raise InputError(
            f"evaluate_grids: run must be on several grids, got {run} of one. Use evaluate_run."
        )
    units: dict[str, str] = {}
    for name, folder in folders.items():
        place = None if store is None else Path(store) / GRIDS / name
        manifest = read_manifest(folder, function="evaluate_grids")
        found = open_store(folder, manifest, place, function="evaluate_grids")
        trials = [found.by_id[t] for t in manifest["scored_trials"] if t in found.by_id]
        units |= {t.trial_id: t.run_id for t in trials}
        say(f"grid of {name}")
        within = within_runs or not have_partners_across_runs(trials)
        evaluate_run(folder, store=place, within_runs=within, seed=seed, **options)
    return pool_runs(
        tuple(folders.values()), units, Path(run), unit="run", people=True, seed=seed, part="grid"
    )


def evaluate_any(run: str | Path, **options: Any) -> object:
    """Evaluate a run on one grid or on several; see :func:`evaluate_run`."""
    joint = grids_of_run(run, function="evaluate_run")
    return evaluate_grids(run, **options) if joint else evaluate_run(run, **options)
